use super::plan::Scale;

#[test]
fn seconds_follow_the_size_with_slack() {
    let mut scale = Scale::default();
    let to = |scale: &mut Scale, from: usize, to: usize| {
        (from..to).for_each(|_| scale.grow());
        (to..from).for_each(|_| scale.shrink());
        scale.seconds()
    };
    for (from, upto, want) in [
        (0, 100, 0),
        (100, 101, 15),
        (101, 90, 15),
        (90, 89, 0),
        (89, 501, 30),
        (501, 1001, 60),
        (1001, 2001, 300),
        (2001, 1799, 60),
        (1799, 0, 0),
    ] {
        assert_eq!(to(&mut scale, from, upto), want, "{from} to {upto}");
    }
}
