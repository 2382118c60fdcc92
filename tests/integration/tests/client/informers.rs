//! Each part of a process waits for the kinds it reads, and for no others.

use gantry_client::{Informers, Key};
use gantry_testkit::Cluster;
use k8s_openapi::api::coordination::v1alpha2::LeaseCandidate;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use std::time::Duration;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn a_kind_that_is_not_served_holds_up_only_those_who_ask_for_it() {
    let cluster = Cluster::start().await;
    let all = Informers::new(cluster.admin());
    let (one, other) = (all.part(), all.part());
    let (namespaces, maps) = (one.of::<Namespace>(), one.of::<ConfigMap>());
    other.of::<Namespace>();
    other.of::<LeaseCandidate>();
    let early = one.clone();
    let waiting = tokio::spawn(async move { early.synced().await });
    assert!(!waiting.is_finished() && !namespaces.has_synced(), "nothing has been started");

    all.start(&CancellationToken::new());
    timeout(Duration::from_secs(10), waiting).await.expect("its kinds are served").expect("no panic");
    assert!(maps.has_synced() && namespaces.store().get(&Key::new("", "kube-system")).is_some());
    timeout(Duration::from_millis(300), other.synced()).await.expect_err("one of its kinds is not served");
    // Asked for nothing, one waits for nothing.
    timeout(Duration::from_secs(1), all.part().synced()).await.expect("nothing to wait for");
}
