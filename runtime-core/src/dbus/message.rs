//! One message of D-Bus: its header and its body as bytes, and back.
//!
//! Pure. Here: the frame of the protocol. Not here: sockets (`connection.rs`) and what a message asks for
//! (`cgroup/systemd/`).

use super::value::{Malformed, Reader, Value, length_of, pad};

/// Of a message that is taken. systemd's are some KiB; the specification allows 128 MiB.
const MAX_LENGTH: usize = 4 << 20;

const HEADER: usize = 16;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Call,
    Reply,
    Error,
    Signal,
    /// To be ignored, as the specification says.
    Unknown,
}

/// A message. A field that it does not have is empty, or 0.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Message {
    pub(crate) kind: Kind,
    pub(crate) serial: u32,
    pub(crate) reply_to: u32,
    pub(crate) path: String,
    pub(crate) interface: String,
    pub(crate) member: String,
    pub(crate) error: String,
    pub(crate) destination: String,
    pub(crate) body: Vec<Value>,
}

impl Message {
    /// A message of a kind and nothing else.
    pub(crate) fn new(kind: Kind) -> Self {
        Self {
            kind,
            serial: 0,
            reply_to: 0,
            path: String::new(),
            interface: String::new(),
            member: String::new(),
            error: String::new(),
            destination: String::new(),
            body: Vec::new(),
        }
    }

    /// A call of a method.
    pub(crate) fn call(destination: &str, path: &str, interface: &str, member: &str) -> Self {
        Self {
            destination: destination.to_owned(),
            path: path.to_owned(),
            interface: interface.to_owned(),
            member: member.to_owned(),
            ..Self::new(Kind::Call)
        }
    }

    /// The arguments.
    pub(crate) fn with(mut self, body: Vec<Value>) -> Self {
        self.body = body;
        self
    }

    /// The bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        self.body.iter().for_each(|value| value.write(&mut body));
        let kind = match self.kind {
            Kind::Call => 1,
            Kind::Reply => 2,
            Kind::Error => 3,
            Kind::Signal => 4,
            Kind::Unknown => 0,
        };
        let mut out = vec![b'l', kind, 0, 1];
        out.extend(length_of(body.len()).to_le_bytes());
        out.extend(self.serial.to_le_bytes());
        Value::Array("(yv)".to_owned(), self.fields()).write(&mut out);
        pad(&mut out, 8);
        out.extend(body);
        out
    }

    fn fields(&self) -> Vec<Value> {
        let signature: String = self.body.iter().map(Value::signature).collect();
        let texts = [
            (1, Value::Path(self.path.clone()), self.path.is_empty()),
            (2, Value::Text(self.interface.clone()), self.interface.is_empty()),
            (3, Value::Text(self.member.clone()), self.member.is_empty()),
            (4, Value::Text(self.error.clone()), self.error.is_empty()),
            (5, Value::U32(self.reply_to), self.reply_to == 0),
            (
                6,
                Value::Text(self.destination.clone()),
                self.destination.is_empty(),
            ),
            (8, Value::Signature(signature.clone()), signature.is_empty()),
        ];
        texts
            .into_iter()
            .filter(|(_, _, absent)| !absent)
            .map(|(code, value, _)| Value::Struct(vec![Value::Byte(code), Value::Variant(Box::new(value))]))
            .collect()
    }

    /// How many bytes the message has that begins here; None as long as that cannot be told.
    pub(crate) fn length(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
        let Some(header) = bytes.first_chunk::<HEADER>() else {
            return Ok(None);
        };
        // The other byte order, or another version of the protocol.
        if header[0] != b'l' || header[3] != 1 {
            return Err(Malformed);
        }
        let word = |at: usize| {
            let bytes = [header[at], header[at + 1], header[at + 2], header[at + 3]];
            usize::try_from(u32::from_le_bytes(bytes)).map_err(|_| Malformed)
        };
        let (body, fields) = (word(4)?, word(12)?);
        if body > MAX_LENGTH || fields > MAX_LENGTH {
            return Err(Malformed);
        }
        Ok(Some((HEADER + fields).next_multiple_of(8) + body))
    }

    /// The message that these bytes are.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut header = Reader::new(bytes).values("yyyyuua(yv)")?.into_iter();
        let mut message = Self::new(match header.nth(1) {
            Some(Value::Byte(1)) => Kind::Call,
            Some(Value::Byte(2)) => Kind::Reply,
            Some(Value::Byte(3)) => Kind::Error,
            Some(Value::Byte(4)) => Kind::Signal,
            _ => Kind::Unknown,
        });
        let (Some(Value::U32(length)), Some(Value::U32(serial)), Some(Value::Array(_, fields))) =
            (header.nth(2), header.next(), header.next())
        else {
            return Err(Malformed);
        };
        message.serial = serial;
        let mut signature = String::new();
        for field in fields {
            message.take_field(field, &mut signature)?;
        }
        let length = usize::try_from(length).map_err(|_| Malformed)?;
        let start = bytes.len().checked_sub(length).ok_or(Malformed)?;
        message.body = Reader::new(&bytes[start..]).values(&signature)?;
        Ok(message)
    }

    fn take_field(&mut self, field: Value, signature: &mut String) -> Result<(), Malformed> {
        let Value::Struct(pair) = field else {
            return Err(Malformed);
        };
        let [Value::Byte(code), Value::Variant(value)] =
            <[Value; 2]>::try_from(pair).map_err(|_| Malformed)?
        else {
            return Err(Malformed);
        };
        match (code, *value) {
            (1, Value::Path(text)) => self.path = text,
            (2, Value::Text(text)) => self.interface = text,
            (3, Value::Text(text)) => self.member = text,
            (4, Value::Text(text)) => self.error = text,
            (5, Value::U32(serial)) => self.reply_to = serial,
            (6, Value::Text(text)) => self.destination = text,
            (8, Value::Signature(text)) => *signature = text,
            (1..=6 | 8, _) => return Err(Malformed),
            // The sender, and what the specification may come to have.
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first message of every client, byte by byte as libdbus sends it (its serial is 1).
    #[test]
    fn hello() {
        let name = "org.freedesktop.DBus";
        let mut hello = Message::call(name, "/org/freedesktop/DBus", name, "Hello");
        hello.serial = 1;
        let mut expected = b"l\x01\0\x01\0\0\0\0\x01\0\0\0m\0\0\0".to_vec();
        expected.extend(b"\x01\x01o\0\x15\0\0\0/org/freedesktop/DBus\0\0\0");
        expected.extend(b"\x02\x01s\0\x14\0\0\0org.freedesktop.DBus\0\0\0\0");
        expected.extend(b"\x03\x01s\0\x05\0\0\0Hello\0\0\0");
        expected.extend(b"\x06\x01s\0\x14\0\0\0org.freedesktop.DBus\0\0\0\0");
        assert_eq!(hello.encode(), expected);
        assert_eq!(Message::length(&expected), Ok(Some(expected.len())));
        assert_eq!(Message::decode(&expected), Ok(hello));
    }

    #[test]
    fn a_signal_survives_its_bytes() {
        let mut signal = Message::new(Kind::Signal);
        signal.path = "/org/freedesktop/systemd1".into();
        signal.interface = "org.freedesktop.systemd1.Manager".into();
        signal.member = "JobRemoved".into();
        signal.serial = 77;
        signal.body = vec![
            Value::U32(5),
            Value::Path("/org/freedesktop/systemd1/job/5".into()),
            Value::text("a.scope"),
            Value::text("done"),
        ];
        let bytes = signal.encode();
        assert_eq!(Message::length(&bytes), Ok(Some(bytes.len())));
        assert_eq!(Message::length(&bytes[..15]), Ok(None));
        assert_eq!(Message::decode(&bytes), Ok(signal));
    }

    #[test]
    fn what_is_no_message_is_refused() {
        assert_eq!(
            Message::length(b"B\x01\0\x01\0\0\0\0\0\0\0\x01\0\0\0m"),
            Err(Malformed)
        );
        assert_eq!(
            Message::length(&[b'l', 1, 0, 2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]),
            Err(Malformed)
        );
        assert_eq!(
            Message::length(&[b'l', 1, 0, 1, 255, 255, 255, 255, 1, 0, 0, 0, 0, 0, 0, 0]),
            Err(Malformed)
        );
        let mut hello = Message::call("a.b", "/", "a.b", "C").encode();
        let length = hello.len();
        for position in 0..length {
            // Whatever one byte becomes, it is decoded or refused.
            for value in [0, 1, 0x7f, 0xff] {
                let before = std::mem::replace(&mut hello[position], value);
                let _ = Message::decode(&hello);
                hello[position] = before;
            }
            let _ = Message::decode(&hello[..position]);
        }
    }
}
