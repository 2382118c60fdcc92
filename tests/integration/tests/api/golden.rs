//! Recorded answers, a file of cases each.

use gantry_integration::golden::check;

macro_rules! recordings {
    ($($name:ident)*) => {$(
        #[tokio::test]
        async fn $name() {
            check(include_str!(concat!("../../golden/", stringify!($name), ".json"))).await;
        }
    )*};
}

recordings!(decode meta immutable auth patch query workload services good);
