//! Load on the cluster: HTTP requests by several clients at once, all of which must be answered.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Who asks, and how often.
pub struct Load<'a> {
    /// Asked in turn by each client.
    pub doors: &'a [SocketAddr],
    pub path: &'a str,
    pub clients: usize,
    /// Between two requests of a client.
    pub pause: Duration,
    /// Requests on a connection.
    pub each: usize,
}

impl<'a> Load<'a> {
    /// A page now and then, each on a connection of its own.
    pub fn light(doors: &'a [SocketAddr]) -> Self {
        Self { doors, path: "/", clients: 2, pause: Duration::from_millis(10), each: 1 }
    }

    /// What makes pods sweat: some thousand pages a second.
    pub fn heavy(doors: &'a [SocketAddr]) -> Self {
        Self { doors, path: "/", clients: 4, pause: Duration::from_millis(1), each: 50 }
    }
}

/// What became of the requests.
#[derive(Debug)]
pub struct Tally {
    pub served: u32,
    /// A line for each that was not answered in full with 200.
    pub lost: Vec<String>,
}

impl Tally {
    /// # Panics
    /// Where a request was lost, or too few were sent to tell.
    pub fn assert_whole(&self) {
        assert!(self.lost.is_empty(), "requests lost besides {} served: {:#?}", self.served, self.lost);
        assert!(self.served > 50, "too little load to tell: {}", self.served);
    }
}

/// Ends the load however the work ends.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Does `work` under load.
pub fn during<T>(load: &Load<'_>, work: impl FnOnce() -> T) -> (T, Tally) {
    let (stop, served, lost) = (AtomicBool::new(false), AtomicU32::new(0), Mutex::new(Vec::new()));
    let begin = Instant::now();
    let done = std::thread::scope(|scope| {
        for client in 0..load.clients {
            let (stop, served, lost) = (&stop, &served, &lost);
            scope.spawn(move || {
                for door in load.doors.iter().cycle().skip(client) {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    if let Err(why) = ask(*door, load, served) {
                        let line = format!("{:.1}s {door}: {why}", begin.elapsed().as_secs_f64());
                        lost.lock().expect("no client panics with it").push(line);
                    }
                }
            });
        }
        let _stop = Stop(&stop);
        work()
    });
    (done, Tally { served: served.into_inner(), lost: lost.into_inner().expect("no client panics with it") })
}

/// The requests of one connection.
fn ask(door: SocketAddr, load: &Load<'_>, served: &AtomicU32) -> Result<(), String> {
    let begin = Instant::now();
    let failed = |what: &str, e: std::io::Error| format!("{what} after {:?}: {e}", begin.elapsed());
    let mut stream = TcpStream::connect_timeout(&door, PATIENCE).map_err(|e| failed("connect", e))?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(|e| failed("timeout", e))?;
    for left in (0..load.each).rev() {
        let closing = if left == 0 { "Connection: close\r\n" } else { "" };
        let request = format!("GET {} HTTP/1.1\r\nHost: {door}\r\n{closing}\r\n", load.path);
        stream.write_all(request.as_bytes()).map_err(|e| failed("write", e))?;
        let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
        while !is_whole(&answer) {
            match stream.read(&mut buffer).map_err(|e| failed("read", e))? {
                0 => return Err(format!("cut short: {:?}", String::from_utf8_lossy(&answer))),
                n => answer.extend_from_slice(&buffer[..n]),
            }
        }
        if !answer.starts_with(b"HTTP/1.1 200 ") {
            return Err(format!("refused: {:?}", String::from_utf8_lossy(&answer)));
        }
        served.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(load.pause);
    }
    Ok(())
}

/// Whether an answer has come to its end, as its head tells.
fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().ok())?
    });
    length.map_or_else(|| body.ends_with("\r\n0\r\n\r\n"), |length| body.len() >= length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_when_its_head_says_so() {
        let check = |answer: &str, expected| assert_eq!(is_whole(answer.as_bytes()), expected, "{answer:?}");
        check("", false);
        check("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n", false);
        check("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok", false);
        check("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n", true);
        check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nok\n\r\n", false);
        check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nok\n\r\n0\r\n\r\n", true);
    }
}
