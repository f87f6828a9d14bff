//! The few protobuf messages of the Mesos v1 scheduler API that the loads need, read and written by field numbers. Offers are
//! skimmed for their ids and agents: a decoder of whole messages would cost more than the server.

use anyhow::{Context, bail};

/// What the loads read of an event.
#[derive(Debug, Default, PartialEq)]
pub struct Event<'a> {
    /// Of SUBSCRIBED.
    pub framework_id: Option<&'a str>,
    /// Of OFFERS.
    pub offers: Vec<Offer<'a>>,
    /// Of UPDATE.
    pub update: Option<Update<'a>>,
    /// Of ERROR.
    pub error: Option<&'a str>,
}

/// An offer: its id, its agent's, and what it has of `cpus` and `mem`.
#[derive(Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct Offer<'a> {
    pub id: &'a str,
    pub agent: &'a str,
    pub cpus: f64,
    pub mem: f64,
}

/// An update of a task's status.
#[derive(Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct Update<'a> {
    pub task: &'a str,
    pub agent: &'a str,
    /// A `mesos.v1.TaskState`.
    pub state: u64,
    pub message: &'a str,
    /// Empty if no acknowledgement is expected.
    pub uuid: &'a [u8],
}

/// TASK_STARTING and TASK_RUNNING.
pub const STARTING: u64 = 0;
/// See [`STARTING`].
pub const RUNNING: u64 = 1;

impl<'a> Event<'a> {
    /// Reads a `mesos.v1.scheduler.Event`.
    pub fn read(message: &'a [u8]) -> anyhow::Result<Event<'a>> {
        let mut event = Event::default();
        for field in Fields(message) {
            match field? {
                (2, bytes) => event.framework_id = Some(nested(nested(bytes, 1)?, 1).and_then(text)?),
                (3, offers) => {
                    for offer in Fields(offers) {
                        event.offers.push(Offer::read(offer?.1)?);
                    }
                }
                (5, bytes) => event.update = Some(Update::read(nested(bytes, 1)?)?),
                (8, bytes) => event.error = Some(nested(bytes, 1).and_then(text)?),
                _ => {}
            }
        }
        Ok(event)
    }
}

impl<'a> Offer<'a> {
    /// Reads a `mesos.v1.Offer`.
    fn read(message: &'a [u8]) -> anyhow::Result<Offer<'a>> {
        let mut offer = Offer::default();
        for field in Fields(message) {
            match field? {
                (1, id) => offer.id = nested(id, 1).and_then(text)?,
                (3, id) => offer.agent = nested(id, 1).and_then(text)?,
                (5, resource) => match nested(resource, 1)? {
                    b"cpus" => offer.cpus += amount(resource)?,
                    b"mem" => offer.mem += amount(resource)?,
                    _ => {}
                },
                _ => {}
            }
        }
        Ok(offer)
    }
}

/// The amount of a `mesos.v1.Resource` of type SCALAR.
fn amount(resource: &[u8]) -> anyhow::Result<f64> {
    Ok(f64::from_le_bytes(nested(nested(resource, 3)?, 1)?.try_into()?))
}

impl<'a> Update<'a> {
    /// Reads a `mesos.v1.TaskStatus`.
    fn read(status: &'a [u8]) -> anyhow::Result<Update<'a>> {
        let mut update = Update::default();
        let mut fields = Fields(status);
        while !fields.0.is_empty() {
            match fields.field()? {
                (1, Content::Bytes(id)) => update.task = nested(id, 1).and_then(text)?,
                (2, Content::Number(state)) => update.state = state,
                (4, Content::Bytes(message)) => update.message = text(message)?,
                (5, Content::Bytes(id)) => update.agent = nested(id, 1).and_then(text)?,
                (11, Content::Bytes(uuid)) => update.uuid = uuid,
                _ => {}
            }
        }
        Ok(update)
    }
}

/// SUBSCRIBE, with this role suppressed.
pub fn subscribe(name: &str, role: &str) -> Vec<u8> {
    const MULTI_ROLE: u64 = 6;
    let mut capability = Vec::new();
    put_number(&mut capability, 1, MULTI_ROLE);
    let mut info = Vec::new();
    put(&mut info, 1, b"nobody");
    put(&mut info, 2, name.as_bytes());
    put(&mut info, 12, role.as_bytes());
    put(&mut info, 10, &capability);
    let mut subscribe = Vec::new();
    put(&mut subscribe, 1, &info);
    put(&mut subscribe, 2, role.as_bytes());
    let mut call = Vec::new();
    put_number(&mut call, 2, 1);
    put(&mut call, 3, &subscribe);
    call
}

/// REVIVE of all roles.
pub fn revive(framework_id: &str) -> Vec<u8> {
    let mut call = header(framework_id, 5);
    put(&mut call, 15, b"");
    call
}

/// DECLINE of offers, for an hour.
pub fn decline<'a>(framework_id: &str, offers: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let mut decline = Vec::new();
    for offer in offers {
        let mut id = Vec::new();
        put(&mut id, 1, offer.as_bytes());
        put(&mut decline, 1, &id);
    }
    let mut filters = vec![1 << 3 | 1];
    filters.extend(3600f64.to_le_bytes());
    put(&mut decline, 2, &filters);
    let mut call = header(framework_id, 4);
    put(&mut call, 5, &decline);
    call
}

/// What a task uses.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub struct TaskSize {
    pub cpus: f64,
    pub mem: f64,
}

impl Offer<'_> {
    /// How many tasks of this size fit it.
    pub fn capacity(&self, size: TaskSize) -> usize {
        (self.cpus / size.cpus).min(self.mem / size.mem) as usize
    }
}

/// ACCEPT of an offer: launches these tasks, as many as [`Offer::capacity`] at most, whose command is never run, and filters the rest for no time.
pub fn launch<'a>(
    framework_id: &str,
    offer: &Offer,
    size: TaskSize,
    tasks: impl Iterator<Item = &'a str>,
) -> Vec<u8> {
    let mut launch = Vec::new();
    for name in tasks {
        let (mut task, mut id, mut agent, mut command) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        put(&mut task, 1, name.as_bytes());
        put(&mut id, 1, name.as_bytes());
        put(&mut task, 2, &id);
        put(&mut agent, 1, offer.agent.as_bytes());
        put(&mut task, 3, &agent);
        for (resource, amount) in [("cpus", size.cpus), ("mem", size.mem)] {
            put(&mut task, 4, &scalar(resource, amount));
        }
        put(&mut command, 3, b"true");
        put(&mut task, 7, &command);
        put(&mut launch, 1, &task);
    }
    let (mut operation, mut id, mut accept) = (Vec::new(), Vec::new(), Vec::new());
    put_number(&mut operation, 1, 1);
    put(&mut operation, 2, &launch);
    put(&mut id, 1, offer.id.as_bytes());
    put(&mut accept, 1, &id);
    put(&mut accept, 2, &operation);
    let mut filters = vec![1 << 3 | 1];
    filters.extend(0f64.to_le_bytes());
    put(&mut accept, 3, &filters);
    let mut call = header(framework_id, 3);
    put(&mut call, 4, &accept);
    call
}

/// ACKNOWLEDGE of an update.
pub fn acknowledge(framework_id: &str, update: &Update) -> Vec<u8> {
    let (mut acknowledge, mut agent, mut task) = (Vec::new(), Vec::new(), Vec::new());
    put(&mut agent, 1, update.agent.as_bytes());
    put(&mut acknowledge, 1, &agent);
    put(&mut task, 1, update.task.as_bytes());
    put(&mut acknowledge, 2, &task);
    put(&mut acknowledge, 3, update.uuid);
    let mut call = header(framework_id, 8);
    put(&mut call, 8, &acknowledge);
    call
}

/// KILL of a task.
pub fn kill(framework_id: &str, task: &str) -> Vec<u8> {
    let (mut kill, mut id) = (Vec::new(), Vec::new());
    put(&mut id, 1, task.as_bytes());
    put(&mut kill, 1, &id);
    let mut call = header(framework_id, 6);
    put(&mut call, 6, &kill);
    call
}

/// SUPPRESS of all roles.
pub fn suppress(framework_id: &str) -> Vec<u8> {
    let mut call = header(framework_id, 12);
    put(&mut call, 16, b"");
    call
}

/// TEARDOWN.
pub fn teardown(framework_id: &str) -> Vec<u8> {
    header(framework_id, 2)
}

/// A `mesos.v1.Resource` of type SCALAR.
fn scalar(name: &str, amount: f64) -> Vec<u8> {
    let (mut resource, mut value) = (Vec::new(), vec![1 << 3 | 1]);
    value.extend(amount.to_le_bytes());
    put(&mut resource, 1, name.as_bytes());
    put_number(&mut resource, 2, 0);
    put(&mut resource, 3, &value);
    resource
}

fn header(framework_id: &str, kind: u64) -> Vec<u8> {
    let mut id = Vec::new();
    put(&mut id, 1, framework_id.as_bytes());
    let mut call = Vec::new();
    put(&mut call, 1, &id);
    put_number(&mut call, 2, kind);
    call
}

fn put_varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

fn put_number(to: &mut Vec<u8>, field: u64, value: u64) {
    put_varint(to, field << 3);
    put_varint(to, value);
}

fn put(to: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_varint(to, field << 3 | 2);
    put_varint(to, bytes.len() as u64);
    to.extend_from_slice(bytes);
}

/// The fields of a message.
struct Fields<'a>(&'a [u8]);

/// What a field holds. Fixed-width numbers are bytes here.
enum Content<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Fields<'a> {
    fn varint(&mut self) -> anyhow::Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first().context("a number is cut off")?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        bail!("a number is too long")
    }

    fn take(&mut self, length: u64) -> anyhow::Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length as usize).context("a field is cut off")?;
        self.0 = rest;
        Ok(taken)
    }

    fn field(&mut self) -> anyhow::Result<(u64, Content<'a>)> {
        let key = self.varint()?;
        let content = match key & 7 {
            0 => Content::Number(self.varint()?),
            1 => Content::Bytes(self.take(8)?),
            2 => {
                let length = self.varint()?;
                Content::Bytes(self.take(length)?)
            }
            5 => Content::Bytes(self.take(4)?),
            other => bail!("wire type {other}"),
        };
        Ok((key >> 3, content))
    }
}

/// Number and bytes of each field that holds bytes.
impl<'a> Iterator for Fields<'a> {
    type Item = anyhow::Result<(u64, &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.0.is_empty() {
            match self.field() {
                Ok((_, Content::Number(_))) => {}
                Ok((number, Content::Bytes(bytes))) => return Some(Ok((number, bytes))),
                Err(error) => {
                    self.0 = &[];
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

/// The first field with this number.
fn nested(message: &[u8], number: u64) -> anyhow::Result<&[u8]> {
    for field in Fields(message) {
        let (found, bytes) = field?;
        if found == number {
            return Ok(bytes);
        }
    }
    bail!("field {number} is missing")
}

fn text(bytes: &[u8]) -> anyhow::Result<&str> {
    Ok(std::str::from_utf8(bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_skimmed() {
        let (mut id, mut offer, mut offers, mut event) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        put(&mut id, 1, b"o1");
        put(&mut offer, 1, &id);
        id.clear();
        put(&mut id, 1, b"S7");
        put(&mut offer, 3, &id);
        put(&mut offers, 1, &offer);
        put_number(&mut event, 1, 2);
        put(&mut event, 3, &offers);
        let expected =
            Event { offers: vec![Offer { id: "o1", agent: "S7", cpus: 0.0, mem: 0.0 }], ..Event::default() };
        assert_eq!(Event::read(&event).unwrap(), expected);
        assert!(Event::read(&event[..event.len() - 1]).is_err());
    }

    #[test]
    fn updates_are_skimmed() {
        let (mut id, mut status, mut update, mut event) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        put(&mut id, 1, b"t1");
        put(&mut status, 1, &id);
        put_number(&mut status, 2, RUNNING);
        put(&mut status, 11, b"0123456789abcdef");
        put(&mut update, 1, &status);
        put_number(&mut event, 1, 4);
        put(&mut event, 5, &update);
        let expected =
            Update { task: "t1", agent: "", state: RUNNING, message: "", uuid: b"0123456789abcdef" };
        assert_eq!(Event::read(&event).unwrap().update, Some(expected));
    }
}
