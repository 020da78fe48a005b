//! One open WebSocket, from the upgrade to the Close frame.

use super::decoder::{Decoder, Event};
use super::frame::{Opcode, Violation, close, control, head};
use crate::opamp::answer::Answer;
use crate::opamp::chance::jittered;
use crate::opamp::credentials::Pass;
use crate::opamp::framing::{HEADER, unframe};
use crate::opamp::hub::Attachment;
use crate::opamp::limits::Limits;
use crate::opamp::memory::{Exhausted, Share};
use crate::opamp::offer::Encoded;
use crate::opamp::stop::{Order, Stop};
use bytes::{Buf, BufMut, Bytes};
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::select;
use tokio::time::{Instant, sleep_until, timeout};

/// How much is read at once. The space is on the stack of whoever polls, so a silent connection has none.
const CHUNK_BYTES: usize = 8 * 1024;

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The peer sent a Close frame, with this code.
    Closed(Option<u16>),
    /// The peer is gone without a word, or the socket failed.
    Gone,
    /// The peer does not read what it is sent.
    Slow,
    /// The peer sent nothing after the upgrade.
    Mute,
    /// The peer does not even answer pings.
    Idle,
    /// The peer began a message and did not end it in time.
    Late,
    /// There is no memory for the message that the peer sends.
    NoMemory,
    /// The peer broke a rule.
    Violated(Violation),
    /// The peer's credential is not valid any more.
    Revoked,
    /// The connection was open for as long as any may be.
    Aged,
    /// This replica stops.
    Shutdown,
}

impl End {
    /// A fixed text for the metrics.
    fn reason(self) -> &'static str {
        match self {
            Self::Closed(_) => "closed",
            Self::Gone => "gone",
            Self::Slow => "slow",
            Self::Mute => "mute",
            Self::Idle => "idle",
            Self::Late => "late",
            Self::NoMemory => "no_memory",
            Self::Violated(Violation::Protocol) => "protocol",
            Self::Violated(Violation::Text) => "text",
            Self::Violated(Violation::TooLong) => "too_long",
            Self::Revoked => "revoked",
            Self::Aged => "aged",
            Self::Shutdown => "shutdown",
        }
    }

    /// The Close frame to send; none where nobody would read it.
    fn close_frame(self) -> Option<Bytes> {
        Some(match self {
            Self::Gone | Self::Slow => return None,
            Self::Closed(None) => control(Opcode::Close, &[]),
            Self::Closed(Some(code)) => close(code, ""),
            Self::Mute => close(1008, "no message came"),
            Self::Idle => close(1008, "no answer to pings"),
            Self::Late => close(1008, "the message did not come in time"),
            Self::NoMemory => close(1013, "there are too many long messages, try again later"),
            Self::Violated(Violation::Protocol) => close(1002, "the frame breaks the protocol"),
            Self::Violated(Violation::Text) => close(1003, "only binary messages are accepted"),
            Self::Violated(Violation::TooLong) => close(1009, "the message is too long"),
            Self::Revoked => close(1008, "the credential is not valid any more"),
            Self::Aged => close(1001, "connect again, to prove who you are"),
            Self::Shutdown => close(1001, "the server shuts down"),
        })
    }
}

impl End {
    /// Whether a limit refused the message that the peer was sending.
    fn refuses_a_message(self) -> bool {
        matches!(self, Self::Late | Self::NoMemory | Self::Violated(Violation::TooLong))
    }
}

impl From<Exhausted> for End {
    fn from(_: Exhausted) -> Self {
        Self::NoMemory
    }
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

impl From<Violation> for End {
    fn from(violation: Violation) -> Self {
        Self::Violated(violation)
    }
}

/// An open WebSocket.
pub struct Connection<S> {
    io: S,
    decoder: Decoder,
    attachment: Attachment,
    pass: Pass,
    limits: Arc<Limits>,
    /// What is kept of a message that has not come as a whole.
    share: Share,
    /// When the WebSocket was opened.
    opened: Instant,
    /// When anything last came from the peer.
    heard: Instant,
    /// When the message began that has not come as a whole.
    begun: Option<Instant>,
    /// Whether an `OpAMP` message has come.
    greeted: bool,
    /// When the credential is checked again.
    check: Instant,
    /// When the connection has been open for long enough, or its turn comes while the replica stops.
    end: Instant,
    /// Whether the replica stops.
    is_draining: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// A connection on an upgraded stream.
    pub fn new(io: S, attachment: Attachment, pass: Pass, limits: Arc<Limits>, share: Share) -> Self {
        let opened = Instant::now();
        Self {
            io,
            decoder: Decoder::new(limits.max_message_bytes),
            attachment,
            pass,
            share,
            opened,
            heard: opened,
            begun: None,
            greeted: false,
            check: opened + limits.recheck_interval,
            end: opened + jittered(limits.max_age),
            is_draining: false,
            limits,
        }
    }

    /// Serves the peer until one side ends it, or the server stops.
    pub async fn serve(mut self, mut stop: Stop) {
        let _open = self.attachment.metrics().socket();
        let Err(mut end) = self.exchange(&mut stop).await;
        if end == End::Revoked {
            end = wait_for_turn(self.pass.turn(), &mut stop).await;
        }
        self.attachment.metrics().closed(end.reason());
        if end.refuses_a_message() {
            self.attachment.metrics().message_refused(end.reason());
        }
        if let Some(frame) = end.close_frame() {
            let patience = self.limits.close_timeout;
            let _ = timeout(patience, self.say_goodbye(frame, end)).await;
        }
    }

    async fn exchange(&mut self, stop: &mut Stop) -> Result<std::convert::Infallible, End> {
        let mut alarm = pin!(sleep_until(self.alarm_after(self.opened)));
        loop {
            select! {
                biased;
                order = stop.next() => match order {
                    Order::EndAt(end) => {
                        self.end_at(end);
                        let next = self.end.min(alarm.deadline());
                        alarm.as_mut().reset(next);
                    }
                    Order::LookAgain if self.pass.seems_valid() => {}
                    Order::LookAgain => return Err(End::Revoked),
                },
                () = self.attachment.woken() => self.push().await?,
                more = read(&mut self.io, |bytes| self.decoder.feed(bytes)) => {
                    if !more? { return Err(End::Gone); }
                    self.heard = Instant::now();
                    self.handle().await?;
                    self.note_rest()?;
                    let due = self.message_due().unwrap_or(alarm.deadline());
                    if due < alarm.deadline() {
                        alarm.as_mut().reset(due);
                    }
                }
                () = &mut alarm => {
                    let next = self.alarm().await?;
                    alarm.as_mut().reset(next);
                }
            }
        }
    }

    /// The replica stops, and this is the connection's moment to end.
    fn end_at(&mut self, end: Instant) {
        self.is_draining = true;
        self.end = self.end.min(end);
    }

    /// Sends the offers that are due, each decided when it is its turn.
    async fn push(&mut self) -> Result<(), End> {
        while let Some(push) = self.attachment.next_push() {
            self.send(push).await?;
        }
        Ok(())
    }

    /// Handles all that is complete.
    async fn handle(&mut self) -> Result<(), End> {
        while let Some(event) = self.decoder.next()? {
            match event {
                Event::Message(message) => self.answer(message).await?,
                Event::Ping(payload) => self.write(control(Opcode::Pong, &payload)).await?,
                Event::Pong => {}
                Event::Close(code) => return Err(End::Closed(code)),
            }
            if !self.decoder.is_in_message() {
                self.begun = None;
            }
        }
        Ok(())
    }

    /// Accounts for what has come and is not complete: its memory, and since when it is coming.
    fn note_rest(&mut self) -> Result<(), End> {
        if !self.decoder.is_empty() {
            self.begun.get_or_insert_with(Instant::now);
        }
        Ok(self.share.keep(self.decoder.kept())?)
    }

    /// By when the message that is coming has to be complete.
    fn message_due(&self) -> Option<Instant> {
        self.begun.map(|begun| begun + self.limits.message_timeout)
    }

    async fn answer(&mut self, message: Bytes) -> Result<(), End> {
        self.greeted = true;
        let answer = match unframe(message) {
            Ok(message) => self.attachment.receive(message),
            Err(error) => Answer::bad_request(&[], &error.to_string()).encode(),
        };
        self.send(answer).await
    }

    /// Decides what a silence and a long life mean, and when to look again.
    async fn alarm(&mut self) -> Result<Instant, End> {
        let now = Instant::now();
        if now >= self.end {
            return Err(if self.is_draining { End::Shutdown } else { End::Aged });
        }
        if now >= self.check {
            if !self.pass.is_valid().await {
                return Err(End::Revoked);
            }
            self.check = now + self.limits.recheck_interval;
        }
        if !self.greeted && now >= self.opened + self.limits.message_timeout {
            return Err(End::Mute);
        }
        if self.message_due().is_some_and(|due| now >= due) {
            return Err(End::Late);
        }
        if now >= self.heard + self.limits.idle_deadline {
            return Err(End::Idle);
        }
        if now < self.heard + self.limits.ping_interval {
            return Ok(self.alarm_after(self.heard));
        }
        self.write(control(Opcode::Ping, &[])).await?;
        Ok(self.alarm_after(now))
    }

    /// When to look at all that comes with time, if a ping is due an interval after `last`.
    fn alarm_after(&self, last: Instant) -> Instant {
        let quiet = (last + self.limits.ping_interval).min(self.heard + self.limits.idle_deadline);
        let mute = self.opened + self.limits.message_timeout;
        let quiet = if self.greeted { quiet } else { quiet.min(mute) };
        self.message_due().unwrap_or(quiet).min(quiet).min(self.check).min(self.end)
    }

    async fn send(&mut self, message: Encoded) -> Result<(), End> {
        let mut head = head(Opcode::Binary, 1 + message.len());
        head.put_u8(HEADER);
        head.put(message.head);
        self.write(head.chain(message.files)).await
    }

    /// Writes, within the time that a peer has to read it. Nothing is queued: while one message is written to
    /// this peer no other is made, and nothing is read from it.
    async fn write(&mut self, mut bytes: impl Buf) -> Result<(), End> {
        let write = async {
            self.io.write_all_buf(&mut bytes).await?;
            self.io.flush().await
        };
        timeout(self.limits.write_timeout, write).await.map_err(|_| End::Slow)?.map_err(End::from)
    }

    /// Sends the Close frame, and waits for the peer's unless that has come.
    async fn say_goodbye(&mut self, frame: Bytes, end: End) -> Result<(), End> {
        self.write(frame).await?;
        if matches!(end, End::Violated(_)) || end.refuses_a_message() {
            (self.decoder, self.begun) = (Decoder::new(0), None);
            self.share.keep(0)?;
            return self.drain().await;
        }
        let mut answered = matches!(end, End::Closed(_));
        while !answered && read(&mut self.io, |bytes| self.decoder.feed(bytes)).await? {
            answered = self.has_closed() || self.share.keep(self.decoder.kept()).is_err();
        }
        Ok(self.io.shutdown().await?)
    }

    /// Ends a stream in which the peer's Close frame could not be told from the rest. What the peer has sent is
    /// read, because a socket that is closed with unread bytes is reset, and the peer may lose our Close frame by
    /// that.
    async fn drain(&mut self) -> Result<(), End> {
        self.io.shutdown().await?;
        while read(&mut self.io, |_| ()).await? {}
        Ok(())
    }

    /// Whether the peer's Close frame has come, or nothing can be understood any more.
    fn has_closed(&mut self) -> bool {
        loop {
            match self.decoder.next() {
                Ok(None) => return false,
                Ok(Some(Event::Close(_))) | Err(_) => return true,
                Ok(Some(_)) => {}
            }
        }
    }
}

/// Waits until it is a peer's turn to be closed. Nothing is taken from it any more, and nothing is sent.
async fn wait_for_turn(turn: Instant, stop: &mut Stop) -> End {
    select! {
        end = stop.requested() => {
            sleep_until(turn.min(end)).await;
            if turn < end { End::Revoked } else { End::Shutdown }
        }
        () = sleep_until(turn) => End::Revoked,
    }
}

/// Reads what there is; false at the end of the stream. Cancelling it loses nothing.
async fn read<S: AsyncRead + Unpin>(io: &mut S, mut take: impl FnMut(&[u8])) -> io::Result<bool> {
    poll_fn(|context| {
        let mut space = [MaybeUninit::uninit(); CHUNK_BYTES];
        let mut chunk = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut *io).poll_read(context, &mut chunk))?;
        take(chunk.filled());
        Poll::Ready(Ok(!chunk.filled().is_empty()))
    })
    .await
}
