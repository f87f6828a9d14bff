//! The few protobuf messages of the Mesos v1 scheduler API that the load needs, read and written by field numbers. Offers are
//! skimmed for their ids and agents: a decoder of whole messages would cost more than the server.

use anyhow::{Context, bail};

/// What the load reads of an event.
#[derive(Debug, Default, PartialEq)]
pub struct Event<'a> {
    /// Of SUBSCRIBED.
    pub framework_id: Option<&'a str>,
    /// Of OFFERS: the ids of each offer and of its agent.
    pub offers: Vec<(&'a str, &'a str)>,
    /// Of ERROR.
    pub error: Option<&'a str>,
}

impl<'a> Event<'a> {
    /// Reads a `mesos.v1.scheduler.Event`.
    pub fn read(message: &'a [u8]) -> anyhow::Result<Event<'a>> {
        let mut event = Event::default();
        for field in Fields(message) {
            match field? {
                (2, bytes) => event.framework_id = Some(nested(nested(bytes, 1)?, 1).and_then(text)?),
                (3, offers) => {
                    for offer in Fields(offers) {
                        let (_, offer) = offer?;
                        let id = nested(nested(offer, 1)?, 1).and_then(text)?;
                        let agent = nested(nested(offer, 3)?, 1).and_then(text)?;
                        event.offers.push((id, agent));
                    }
                }
                (8, bytes) => event.error = Some(nested(bytes, 1).and_then(text)?),
                _ => {}
            }
        }
        Ok(event)
    }
}

/// SUBSCRIBE, with this role suppressed.
pub fn subscribe(name: &str, role: &str) -> Vec<u8> {
    const MULTI_ROLE: u64 = 6;
    let mut capability = Vec::new();
    put_number(&mut capability, 1, MULTI_ROLE);
    let mut info = Vec::new();
    put(&mut info, 1, b"root");
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

/// The fields of a message: number and bytes. Numbers are skipped.
struct Fields<'a>(&'a [u8]);

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

    fn field(&mut self) -> anyhow::Result<(u64, &'a [u8])> {
        let key = self.varint()?;
        let bytes = match key & 7 {
            0 => {
                self.varint()?;
                &[]
            }
            1 => self.take(8)?,
            2 => {
                let length = self.varint()?;
                self.take(length)?
            }
            5 => self.take(4)?,
            other => bail!("wire type {other}"),
        };
        Ok((key >> 3, bytes))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = anyhow::Result<(u64, &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.0.is_empty()).then(|| self.field())
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
        let expected = Event { offers: vec![("o1", "S7")], ..Event::default() };
        assert_eq!(Event::read(&event).unwrap(), expected);
        assert!(Event::read(&event[..event.len() - 1]).is_err());
    }
}
