//! Forgetting history, together with the other apiservers of the cluster.

use etcd_client::{Compare, CompareOp, KvClient, Txn, TxnOp, TxnOpResponse};
use std::time::Duration;

/// The key apiservers, upstream's included, agree through.
const KEY: &str = "compact_rev_key";

/// Compacts every `interval` to the revision that was current at the last time, until dropped. Of several
/// apiservers, only the one whose guess of the key's version is right compacts.
pub async fn run(mut kv: KvClient, interval: Duration) {
    let (mut version, mut target) = (0, 0);
    loop {
        tokio::time::sleep(interval).await;
        match turn(&mut kv, version, target).await {
            Ok((next, current)) => (version, target) = (next, current),
            Err(error) => tracing::warn!("Compaction of etcd failed: {error}"),
        }
    }
}

async fn turn(kv: &mut KvClient, version: i64, target: i64) -> Result<(i64, i64), etcd_client::Error> {
    let txn = Txn::new()
        .when([Compare::version(KEY, CompareOp::Equal, version)])
        .and_then([TxnOp::put(KEY, target.to_string(), None)])
        .or_else([TxnOp::get(KEY, None)]);
    let answer = kv.txn(txn).await?;
    let current = answer.header().map_or(0, |h| h.revision());
    if !answer.succeeded() {
        // Another one compacted meanwhile.
        let version = answer.op_responses().into_iter().find_map(|r| match r {
            TxnOpResponse::Get(got) => got.kvs().first().map(|kv| kv.version()),
            _ => None,
        });
        return Ok((version.unwrap_or(0), current));
    }
    if target > 0 {
        kv.compact(target, None).await?;
    }
    Ok((version + 1, current))
}
