//! A customer who writes one order after another to the shop's primary redis and remembers what was acknowledged.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Error, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long an answer may take, and how long to wait for the next try.
const PATIENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(10);

/// What came of the orders.
#[derive(Default)]
pub struct Book {
    /// The names of the keys redis said it has.
    pub acknowledged: BTreeSet<String>,
    /// How often the primary was away, and the longest of it.
    pub gaps: u32,
    pub longest: Duration,
}

pub struct Customer {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Book>,
}

impl Customer {
    pub fn start(primary: SocketAddr, password: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (password, stopped) = (password.to_owned(), stop.clone());
        Self { task: std::thread::spawn(move || write(primary, &password, &stopped)), stop }
    }

    pub fn end(self) -> Book {
        self.stop.store(true, Ordering::Relaxed);
        self.task.join().expect("the customer goes home well")
    }
}

fn write(primary: SocketAddr, password: &str, stop: &AtomicBool) -> Book {
    let (mut book, mut number, mut answered) = (Book::default(), 0, Instant::now());
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut redis) = Redis::connect(primary, password) else {
            std::thread::sleep(PAUSE);
            continue;
        };
        while !stop.load(Ordering::Relaxed) {
            number += 1;
            let key = format!("order:{number}");
            if !matches!(redis.ask(&format!("SET {key} {number}")).as_deref(), Ok("+OK")) {
                break;
            }
            if answered.elapsed() > PATIENCE {
                book.gaps += 1;
                book.longest = book.longest.max(answered.elapsed());
            }
            answered = Instant::now();
            book.acknowledged.insert(key);
            std::thread::sleep(PAUSE);
        }
    }
    book
}

/// A connection that speaks redis' inline protocol: a line to, a line back.
struct Redis(BufReader<TcpStream>);

impl Redis {
    fn connect(address: SocketAddr, password: &str) -> Result<Self, Error> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut redis = Self(BufReader::new(stream));
        match redis.ask(&format!("AUTH {password}"))?.as_str() {
            "+OK" => Ok(redis),
            other => Err(Error::other(other.to_owned())),
        }
    }

    fn ask(&mut self, command: &str) -> Result<String, Error> {
        self.0.get_mut().write_all(format!("{command}\r\n").as_bytes())?;
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }
}
