//! ATTACH_CONTAINER_OUTPUT and ATTACH_CONTAINER_INPUT: the streams of a container as records, from and to its supervisor.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{
    Response, StatusCode,
    body::{Frame, Incoming},
};
use kernel_model::container_path::ContainerPath;
use kernel_wire::{
    codec::{ContentType, encode},
    recordio,
    v1::{
        DurationInfo,
        agent::{
            Call, ProcessIo, call,
            process_io::{self, Control, Data, control, data},
        },
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    time::{Instant, Interval, MissedTickBehavior},
};

use super::{
    Handlers,
    containers::{ApiCaller, SessionGuard, failed, forbidden, may_control, of_executor},
    media_types::MediaTypes,
};
use crate::{
    http::{
        Answer, Body,
        negotiate::{BODY_BYTES_MAX, full, text},
    },
    supervisor::frames::{self, CONTENT_MAX, HEAD_BYTES},
};

/// Mesos' `--http_heartbeat_interval`.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(30);

/// Records that wait for the client: with those in sockets they are all that is kept of a container's output.
const RECORDS_MAX: usize = 4;

/// How long a client may still send when the container has ended, as in Mesos.
const LAST_INPUT_MAX: Duration = Duration::from_secs(1);

/// Answers with the output of a container, until its end.
pub(super) async fn output(
    handlers: &Handlers,
    path: &ContainerPath,
    media: MediaTypes,
    content: ContentType,
    guard: Option<SessionGuard>,
) -> Result<Answer, Answer> {
    let mut stream = handlers.runtime.attach(path).await.map_err(|why| failed(&why))?;
    stream.write_all(&[frames::ATTACH_OUTPUT]).await.map_err(|why| failed(&why))?;
    // Without an answer the supervisor has ended with the container, and so has the output.
    if let Ok((frames::BUSY, _)) = read_frame(&mut stream).await {
        return Err(failed(&"Too many clients are attached to the container's output"));
    }
    let (sender, records) = mpsc::channel(RECORDS_MAX);
    tokio::spawn(read_output(stream, content, sender));
    let mut heartbeat = tokio::time::interval_at(Instant::now() + HEARTBEAT_EVERY, HEARTBEAT_EVERY);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let body: Body = OutputBody { records, content, heartbeat, _guard: guard }.boxed_unsync();
    Ok(media.streaming(Response::new(body), content))
}

/// Reads frames from the supervisor until its end, or that of the client.
async fn read_output(mut stream: UnixStream, content: ContentType, records: mpsc::Sender<Bytes>) {
    loop {
        let frame = tokio::select! {
            frame = read_frame(&mut stream) => frame,
            () = records.closed() => return,
        };
        let Ok((kind, bytes)) = frame else { return };
        let kind = if kind == frames::ERRORS { data::Type::Stderr } else { data::Type::Stdout };
        let message = ProcessIo {
            r#type: Some(process_io::Type::Data as i32),
            data: Some(Data { r#type: Some(kind as i32), data: Some(bytes.into()) }),
            ..Default::default()
        };
        if records.send(recordio::frame(&encode(content, &message))).await.is_err() {
            return;
        }
    }
}

async fn read_frame(from: &mut (impl AsyncReadExt + Unpin)) -> std::io::Result<(u8, Vec<u8>)> {
    let mut head = [0; HEAD_BYTES];
    from.read_exact(&mut head).await?;
    let (kind, length) = frames::decode_head(head)?;
    let mut content = vec![0; length];
    from.read_exact(&mut content).await?;
    Ok((kind, content))
}

struct OutputBody {
    records: mpsc::Receiver<Bytes>,
    content: ContentType,
    heartbeat: Interval,
    /// Dropped with the connection.
    _guard: Option<SessionGuard>,
}

impl hyper::body::Body for OutputBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        if let Poll::Ready(record) = this.records.poll_recv(cx) {
            return Poll::Ready(record.map(|record| Ok(Frame::data(record))));
        }
        match this.heartbeat.poll_tick(cx) {
            Poll::Ready(_) => Poll::Ready(Some(Ok(Frame::data(heartbeat(this.content))))),
            Poll::Pending => Poll::Pending,
        }
    }
}

fn heartbeat(content: ContentType) -> Bytes {
    let nanoseconds = i64::try_from(HEARTBEAT_EVERY.as_nanos()).unwrap_or(i64::MAX);
    let message = ProcessIo {
        r#type: Some(process_io::Type::Control as i32),
        control: Some(Control {
            r#type: Some(control::Type::Heartbeat as i32),
            heartbeat: Some(control::Heartbeat { interval: Some(DurationInfo { nanoseconds }) }),
            ..Default::default()
        }),
        ..Default::default()
    };
    recordio::frame(&encode(content, &message))
}

/// The calls in the body of a request.
struct Calls {
    body: Incoming,
    decoder: recordio::Decoder,
    media: MediaTypes,
}

impl Calls {
    /// The next call; `None` at the end. Nothing is lost if it is cancelled.
    async fn next(&mut self) -> Result<Option<Call>, Answer> {
        let refuse = |why: String| text(StatusCode::BAD_REQUEST, why);
        loop {
            if let Some(record) = self.decoder.next_record().map_err(|error| refuse(error.to_string()))? {
                return self.media.call(&record).map(Some);
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Some(bytes) = frame.data_ref() {
                        self.decoder.push(bytes);
                    }
                }
                Some(Err(_)) => return Err(refuse("The body ended too early".to_owned())),
                None => return Ok(None),
            }
        }
    }

    /// Reads and forgets what the client still sends.
    async fn drain(&mut self) {
        let all = async { while let Some(Ok(_)) = self.body.frame().await {} };
        let _ = tokio::time::timeout(LAST_INPUT_MAX, all).await;
    }
}

/// Handles a request with a stream of calls, of which ATTACH_CONTAINER_INPUT is the only one.
pub(super) async fn input(
    handlers: &Arc<Handlers>,
    caller: &ApiCaller,
    media: MediaTypes,
    body: Incoming,
) -> Result<Answer, Answer> {
    let mut calls = Calls { body, decoder: recordio::Decoder::new(BODY_BYTES_MAX), media };
    let empty = || text(StatusCode::BAD_REQUEST, "Received EOF while reading request body");
    let first = calls.next().await?.ok_or_else(empty)?;
    let kind = super::operator_api::kind_of(&first)?;
    let path = match kind {
        call::Type::AttachContainerInput => super::container_calls::parse_input(&first),
        _ => Ok(ContainerPath::root("".into())),
    };
    // What a call of this type does not allow is found after its validation, and before its meaning.
    let path = match path {
        Err(super::container_calls::CallError::Unsupported(why)) => {
            media.response(kind)?;
            return Err(text(StatusCode::BAD_REQUEST, why));
        }
        path => path?,
    };
    media.response(kind)?;
    of_executor(handlers, &path).await?;
    if let ApiCaller::Executor(_) = caller {
        return Err(forbidden());
    }
    may_control(handlers, caller, &path)?;
    let mut stream = handlers.runtime.attach(&path).await.map_err(|why| failed(&why))?;
    stream.write_all(&[frames::ATTACH_INPUT]).await.map_err(|why| failed(&why))?;
    let (mut from, mut to) = stream.into_split();
    let answer = send_input(&mut calls, &mut from, &mut to).await;
    calls.drain().await;
    answer
}

/// Passes the records on until the client's end or the container's.
async fn send_input(
    calls: &mut Calls,
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
) -> Result<Answer, Answer> {
    let mut answered = Box::pin(read_frame(from));
    loop {
        let call = tokio::select! {
            answer = &mut answered => return input_answer(answer),
            call = calls.next() => call?,
        };
        let Some(call) = call else {
            // The supervisor answers when it has taken everything.
            let _ = to.shutdown().await;
            return input_answer(answered.await);
        };
        let part = call.attach_container_input.unwrap_or_default();
        let frame = input_frames(&part).map_err(|why| text(StatusCode::BAD_REQUEST, why))?;
        tokio::select! {
            answer = &mut answered => return input_answer(answer),
            // If it fails, the supervisor says why.
            written = to.write_all(&frame) => if written.is_err() {
                return input_answer(answered.await);
            },
        }
    }
}

fn input_answer(answer: std::io::Result<(u8, Vec<u8>)>) -> Result<Answer, Answer> {
    let done = || Response::new(full(""));
    // Without an answer the supervisor has ended with the container.
    let Ok((kind, why)) = answer else { return Ok(done()) };
    let why = String::from_utf8_lossy(&why);
    match kind {
        frames::BUSY => Err(text(StatusCode::CONFLICT, "Multiple input connections are not allowed")),
        frames::NO_WINDOW => {
            Err(text(StatusCode::BAD_REQUEST, format!("Unable to set the window size: {why}")))
        }
        frames::NOT_WRITTEN => Err(failed(&format!("Failed writing to stdin: {why}"))),
        _ => Ok(done()),
    }
}

/// The frames of a record for the supervisor; none for a heartbeat. The refusals are Mesos'.
fn input_frames(part: &call::AttachContainerInput) -> Result<Vec<u8>, String> {
    use call::attach_container_input::Type;
    let kind = part.r#type();
    if kind != Type::ProcessIo {
        let kind = kind.as_str_name();
        return Err(format!(
            "Expecting 'attach_container_input.type' to be 'PROCESS_IO' instead of: '{kind}'"
        ));
    }
    let missing = |what: &str| format!("Expecting '{what}' to be present");
    let message = part.process_io.as_ref().ok_or_else(|| missing("attach_container_input.process_io"))?;
    message.r#type.ok_or_else(|| missing("process_io.type"))?;
    match message.r#type() {
        process_io::Type::Unknown => Err("'process_io.type' is unknown".to_owned()),
        process_io::Type::Control => {
            control_frame(message.control.as_ref().ok_or_else(|| missing("process_io.control"))?)
        }
        process_io::Type::Data => {
            let data = message.data.as_ref().ok_or_else(|| missing("process_io.data"))?;
            data.r#type.ok_or_else(|| missing("process_io.data.type"))?;
            if data.r#type() != data::Type::Stdin {
                return Err("Expecting 'process_io.data.type' to be 'STDIN'".to_owned());
            }
            let bytes = data.data.as_ref().ok_or_else(|| missing("process_io.data.data"))?;
            Ok(match bytes.is_empty() {
                true => frames::encode(frames::END, b""),
                false => {
                    bytes.chunks(CONTENT_MAX).flat_map(|part| frames::encode(frames::INPUT, part)).collect()
                }
            })
        }
    }
}

fn control_frame(control: &Control) -> Result<Vec<u8>, String> {
    let missing = |what: &str| format!("Expecting '{what}' to be present");
    control.r#type.ok_or_else(|| missing("process_io.control.type"))?;
    match control.r#type() {
        control::Type::Unknown => Err("'process_io.control.type' is unknown".to_owned()),
        control::Type::Heartbeat => {
            control.heartbeat.as_ref().ok_or_else(|| missing("process_io.control.heartbeat"))?;
            Ok(Vec::new())
        }
        control::Type::TtyInfo => {
            let info = control.tty_info.as_ref().ok_or_else(|| missing("process_io.control.tty_info"))?;
            let size = info.window_size.as_ref().ok_or_else(|| missing("tty_info.window_size"))?;
            let bytes = |number: u32| u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes();
            Ok(frames::encode(frames::WINDOW, &[bytes(size.rows), bytes(size.columns)].concat()))
        }
    }
}
