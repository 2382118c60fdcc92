//! A TCP proxy whose connections can fall silent: nothing passes any more, and nobody is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub struct Proxy {
    port: u16,
    /// Connections below this number are silent.
    silent: watch::Sender<usize>,
    connections: Arc<AtomicUsize>,
}

impl Proxy {
    /// A proxy before `https://HOST:PORT`.
    pub async fn before(url: &str) -> Self {
        let target = url.trim_start_matches("https://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (silent, hears) = watch::channel(0);
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let number = count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(pass(client, target.clone(), number, hears.clone()));
            }
        });
        Self { port, silent, connections }
    }

    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// How many connections there ever were.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Lets every connection there is fall silent; later ones work.
    pub fn silence(&self) {
        self.silent.send_replace(self.connections());
    }
}

/// Ends when a connection is to be silent; when nobody is left to say so, it never is.
async fn fallen(number: usize, silent: &mut watch::Receiver<usize>) {
    if silent.wait_for(|below| number < *below).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Copies both ways until one side ends, or the connection falls silent: then both ends are held for ever.
async fn pass(mut client: TcpStream, target: String, number: usize, mut silent: watch::Receiver<usize>) {
    let Ok(mut server) = TcpStream::connect(&target).await else { return };
    tokio::select! {
        // Either side closed or failed; dropping both tells the other.
        _ = copy_bidirectional(&mut client, &mut server) => {}
        () = fallen(number, &mut silent) => std::future::pending::<()>().await,
    }
}
