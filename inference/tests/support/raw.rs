//! A server that answers with just the bytes it is told to, whatever they are.

use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What happens to a connection.
#[derive(Clone)]
pub enum Step {
    /// These bytes are sent.
    Send(Vec<u8>),
    /// Nothing more is sent, and the connection stays open.
    Hang,
}

type Script = Arc<dyn Fn(&str) -> Vec<Step> + Send + Sync>;

pub struct Raw {
    pub url: String,
    _tasks: JoinSet<()>,
}

impl Raw {
    /// Answers a request for a path by what `script` says, and closes.
    pub async fn start(script: impl Fn(&str) -> Vec<Step> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let script: Script = Arc::new(script);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                open.spawn(answer(stream, Arc::clone(&script)));
            }
        });
        Self { url, _tasks: tasks }
    }
}

async fn answer(mut stream: TcpStream, script: Script) {
    let mut request = Vec::new();
    let mut byte = [0; 4_096];
    let (head, length) = loop {
        match stream.read(&mut byte).await {
            Ok(0) | Err(_) => return,
            Ok(read) => request.extend_from_slice(&byte[..read]),
        }
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some(end) = text.find("\r\n\r\n") {
            let length = text.to_ascii_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ").and_then(|length| length.parse::<usize>().ok()));
            break (text, end + 4 + length.unwrap_or(0));
        }
    };
    while request.len() < length {
        match stream.read(&mut byte).await {
            Ok(0) | Err(_) => return,
            Ok(read) => request.extend_from_slice(&byte[..read]),
        }
    }
    let path = head.split_whitespace().nth(1).unwrap_or_default();
    for step in script(path) {
        match step {
            Step::Send(bytes) => {
                if stream.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            Step::Hang => std::future::pending().await,
        }
    }
    stream.shutdown().await.ok();
}

/// A whole answer that ends with its connection.
pub fn response(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 {status}\r\nconnection: close\r\n{headers}\r\n").as_bytes(), body].concat()
}
