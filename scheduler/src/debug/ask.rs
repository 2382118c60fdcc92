//! From a path to a question, and from the loop's answer to a page.

use super::view::{Answer, Question};
use gantry_daemon::ops::Reply;
use serde::Serialize;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Where nobody answers that long, nobody schedules here.
const PATIENCE: Duration = Duration::from_secs(5);
const JSON: &str = "application/json";

/// A question, and who waits for its answer.
pub struct Asked {
    pub question: Question,
    pub answer: oneshot::Sender<Option<Answer>>,
}

#[derive(Serialize)]
struct Paths {
    paths: [&'static str; 3],
}

#[derive(Serialize)]
struct Refused<'a> {
    error: &'a str,
}

fn refusal(code: u16, error: &str) -> Reply {
    written(code, &Refused { error })
}

fn written(code: u16, body: &impl Serialize) -> Reply {
    match serde_json::to_vec_pretty(body) {
        Ok(mut body) => {
            body.push(b'\n');
            Reply { code, kind: JSON, body }
        }
        Err(error) => {
            Reply { code: 500, kind: "text/plain; charset=utf-8", body: error.to_string().into_bytes() }
        }
    }
}

/// What a path below `/debug` asks.
fn question(rest: &str) -> Option<Question> {
    let parts: Vec<&str> = rest.trim_matches('/').split('/').collect();
    match parts.as_slice() {
        ["queue"] => Some(Question::Queue),
        ["cache"] => Some(Question::Cache),
        ["pod", namespace, name] if !namespace.is_empty() && !name.is_empty() => {
            Some(Question::Pod { namespace: (*namespace).to_owned(), name: (*name).to_owned() })
        }
        _ => None,
    }
}

/// The page below `/debug`.
pub async fn page(rest: String, ask: mpsc::Sender<Asked>) -> Reply {
    if rest.trim_matches('/').is_empty() {
        return written(
            200,
            &Paths { paths: ["/debug/queue", "/debug/cache", "/debug/pod/{namespace}/{name}"] },
        );
    }
    let Some(question) = question(&rest) else { return refusal(404, "no such page") };
    let (answer, answered) = oneshot::channel();
    if ask.try_send(Asked { question, answer }).is_err() {
        return refusal(503, "too many questions wait already, or this scheduler does not schedule now");
    }
    match tokio::time::timeout(PATIENCE, answered).await {
        Ok(Ok(Some(mut found))) => {
            if let Answer::Cache(cache) = &mut found {
                cache.resident_memory_bytes = gantry_daemon::metrics::resident_bytes();
            }
            written(200, &found)
        }
        Ok(Ok(None)) => refusal(404, "no such pod waits or runs, as far as the scheduler knows"),
        _ => refusal(503, "this scheduler does not schedule now: another leads, or it is starting"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_questions() {
        let check = |path: &str, expected: Option<Question>| assert_eq!(question(path), expected, "{path}");
        check("/queue", Some(Question::Queue));
        check("cache/", Some(Question::Cache));
        check("/pod/a/b", Some(Question::Pod { namespace: "a".into(), name: "b".into() }));
        check("/pod/a", None);
        check("/pod//b", None);
        check("/nodes", None);
    }

    #[tokio::test]
    async fn nobody_answers_where_nobody_schedules() {
        let (ask, listener) = mpsc::channel(1);
        drop(listener);
        assert_eq!(page("/queue".into(), ask.clone()).await.code, 503);
        assert_eq!(page("/else".into(), ask.clone()).await.code, 404);
        assert_eq!(page(String::new(), ask).await.code, 200);
    }
}
