//! Plain TCP with the framing of ractor_cluster: eight bytes of length, then as many bytes as a small call has.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// About what a call without arguments takes on the wire.
const PAYLOAD: [u8; 64] = [7; 64];

/// The longest frame that is read.
const MAX_LEN: u64 = 1 << 16;

/// The address for plain TCP of the node that listens here.
pub(super) fn beside(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port() + 1)
}

/// Sends every frame back, from now on.
pub(super) async fn serve(address: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut stream = stream;
                // The peer may have closed the connection.
                let _ = send_back(&mut stream).await;
            });
        }
    });
    Ok(())
}

async fn send_back(stream: &mut TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let frame = read(stream).await?;
        write(stream, &frame).await?;
    }
}

/// A connection for [`echo`].
pub(super) async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// One frame there and back. One at a time.
pub(super) async fn echo(shared: Arc<Mutex<Option<TcpStream>>>) {
    let take = || shared.lock().unwrap_or_else(PoisonError::into_inner).take();
    let mut stream = take().expect("one caller at a time");
    write(&mut stream, &PAYLOAD).await.expect("the other end lives");
    let answer = read(&mut stream).await.expect("the other end lives");
    assert_eq!(answer, PAYLOAD);
    *shared.lock().unwrap_or_else(PoisonError::into_inner) = Some(stream);
}

async fn read(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let len = stream.read_u64().await?;
    if len > MAX_LEN {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {len} bytes")));
    }
    let mut frame = vec![0; len as usize];
    stream.read_exact(&mut frame).await?;
    Ok(frame)
}

async fn write(stream: &mut TcpStream, payload: &[u8]) -> io::Result<()> {
    let mut frame = Vec::with_capacity(8 + payload.len());
    frame.extend((payload.len() as u64).to_be_bytes());
    frame.extend(payload);
    stream.write_all(&frame).await
}
