//! Frames over a byte stream, at both ends. A peer that reads nothing for half a minute is disconnected.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kernel_model::agent::{ToAgent, ToMaster};
use kernel_wire::link;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::mpsc,
};

use super::{AgentLink, OUTGOING_BOUND};
use crate::master_driver::MasterQueue;

/// The deadline of a write; pings notice a silent peer earlier.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Most bytes of frames per write.
const WRITE_BATCH_BYTES: usize = 64 * 1024;

/// Queued messages for the agent.
const INCOMING_BOUND: usize = 1024;

/// The master's end: serves one link until either side closes it.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Send + 'static>(stream: S, queue: MasterQueue) {
    let Ok((handle, outgoing)) = queue.link_up().await else { return };
    let (reader, writer) = tokio::io::split(stream);
    let read = async {
        let mut frames = FrameReader::new(reader);
        while let Some(frame) = frames.next_frame().await {
            match link::decode_to_master(frame) {
                Ok(Some(message)) => {
                    if handle.send(message).await.is_err() {
                        return;
                    }
                }
                Ok(None) => {}
                Err(error) => {
                    return tracing::warn!(%error, "an agent's frame does not parse: its link is closed");
                }
            }
        }
    };
    tokio::select! {
        () = read => {}
        () = write_all(writer, outgoing, |message: &ToAgent| link::encode_to_agent(message)) => {}
    }
}

/// The agent's end: a typed link over the stream.
pub(super) fn attach<S: AsyncRead + AsyncWrite + Send + 'static>(stream: S) -> AgentLink {
    let (outgoing, to_send) = mpsc::channel::<ToMaster>(OUTGOING_BOUND);
    let (deliver, incoming) = mpsc::channel(INCOMING_BOUND);
    tokio::spawn(async move {
        let (reader, writer) = tokio::io::split(stream);
        let read = async {
            let mut frames = FrameReader::new(reader);
            while let Some(frame) = frames.next_frame().await {
                match link::decode_to_agent(frame) {
                    Ok(Some(message)) => {
                        if deliver.send(message).await.is_err() {
                            return;
                        }
                    }
                    Ok(None) => {}
                    Err(error) => {
                        return tracing::warn!(%error, "a frame of the master does not parse: the link is closed");
                    }
                }
            }
        };
        tokio::select! {
            () = read => {}
            () = write_all(writer, to_send, |message: &ToMaster| link::encode_to_master(message)) => {}
            () = deliver.closed() => {}
        }
    });
    AgentLink { outgoing, incoming }
}

async fn write_all<W: AsyncWrite + Unpin, T>(
    mut writer: W,
    mut messages: mpsc::Receiver<T>,
    encode: impl Fn(&T) -> Bytes,
) {
    while let Some(first) = messages.recv().await {
        let mut bytes = BytesMut::from(link::frame(&encode(&first)).as_ref());
        while bytes.len() < WRITE_BATCH_BYTES {
            let Ok(more) = messages.try_recv() else { break };
            bytes.extend_from_slice(&link::frame(&encode(&more)));
        }
        let write = async {
            writer.write_all(&bytes).await?;
            writer.flush().await
        };
        match tokio::time::timeout(WRITE_TIMEOUT, write).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

struct FrameReader<R> {
    reader: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    fn new(reader: R) -> Self {
        Self { reader, buffer: BytesMut::with_capacity(8 * 1024) }
    }

    /// `None` at the end of the stream, clean or not.
    async fn next_frame(&mut self) -> Option<Bytes> {
        loop {
            match link::take_frame(&mut self.buffer) {
                Ok(Some(frame)) => return Some(frame),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, "a link is closed");
                    return None;
                }
            }
            match self.reader.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }
}
