//! D-Bus messages as bytes: what systemd is asked, and what it answers. D-Bus specification, "Type
//! System" and "Message Protocol". Numbers are in this machine's order, as the other side's are.

use super::error::SystemdError;

/// What the specification allows is 128 MiB; systemd's answers to us are some hundred bytes.
const LONGEST: usize = 1 << 20;
/// Of the fixed part of a header: up to the length of its fields, that included.
pub(super) const FIXED: usize = 16;
const ENDIAN: u8 = if cfg!(target_endian = "little") {
    b'l'
} else {
    b'B'
};
const VERSION: u8 = 1;
const NO_AUTO_START: u8 = 2;
pub(super) const CALL: u8 = 1;
pub(super) const RETURN: u8 = 2;
pub(super) const ERROR: u8 = 3;
pub(super) const SIGNAL: u8 = 4;

/// A value of the types that systemd's properties have.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Byte(u8),
    Bool(bool),
    I32(i32),
    U32(u32),
    I64(i64),
    U64(u64),
    Double(f64),
    Text(String),
    Path(String),
    Signature(String),
    /// Items of one type, which `of` has as a signature.
    Array {
        of: String,
        items: Vec<Value>,
    },
    Struct(Vec<Value>),
    Variant(Box<Value>),
}

impl Value {
    pub(super) fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    pub(super) fn array(of: &str, items: Vec<Value>) -> Value {
        let of = of.to_owned();
        Value::Array { of, items }
    }

    /// "Summary of types".
    pub(super) fn signature(&self) -> String {
        let code = match self {
            Value::Byte(_) => "y",
            Value::Bool(_) => "b",
            Value::I32(_) => "i",
            Value::U32(_) => "u",
            Value::I64(_) => "x",
            Value::U64(_) => "t",
            Value::Double(_) => "d",
            Value::Text(_) => "s",
            Value::Path(_) => "o",
            Value::Signature(_) => "g",
            Value::Variant(_) => "v",
            Value::Array { of, .. } => return format!("a{of}"),
            Value::Struct(items) => {
                let items: String = items.iter().map(Value::signature).collect();
                return format!("({items})");
            }
        };
        code.to_owned()
    }
}

/// To how many bytes a type is aligned, by the first letter of its signature.
fn alignment(signature: &str) -> usize {
    match signature.as_bytes().first() {
        Some(b'y' | b'g' | b'v') => 1,
        Some(b'x' | b't' | b'd' | b'(') => 8,
        _ => 4,
    }
}

/// Appends a value, aligned to the beginning of `bytes`.
fn put(bytes: &mut Vec<u8>, value: &Value) {
    align(bytes, alignment(&value.signature()));
    match value {
        Value::Byte(byte) => bytes.push(*byte),
        Value::Bool(truth) => bytes.extend(u32::from(*truth).to_ne_bytes()),
        Value::I32(number) => bytes.extend(number.to_ne_bytes()),
        Value::U32(number) => bytes.extend(number.to_ne_bytes()),
        Value::I64(number) => bytes.extend(number.to_ne_bytes()),
        Value::U64(number) => bytes.extend(number.to_ne_bytes()),
        Value::Double(number) => bytes.extend(number.to_ne_bytes()),
        Value::Text(text) | Value::Path(text) => {
            bytes.extend((text.len() as u32).to_ne_bytes());
            bytes.extend(text.bytes());
            bytes.push(0);
        }
        Value::Signature(text) => put_signature(bytes, text),
        Value::Variant(inner) => {
            put_signature(bytes, &inner.signature());
            put(bytes, inner);
        }
        Value::Struct(items) => items.iter().for_each(|item| put(bytes, item)),
        Value::Array { of, items } => {
            let at = bytes.len();
            bytes.extend([0; 4]);
            // The padding before the first item is not counted.
            align(bytes, alignment(of));
            let start = bytes.len();
            items.iter().for_each(|item| put(bytes, item));
            let length = (bytes.len() - start) as u32;
            bytes[at..at + 4].copy_from_slice(&length.to_ne_bytes());
        }
    }
}

fn put_signature(bytes: &mut Vec<u8>, signature: &str) {
    bytes.push(signature.len() as u8);
    bytes.extend(signature.bytes());
    bytes.push(0);
}

fn align(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().next_multiple_of(to), 0);
}

/// A method to be called.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) destination: &'a str,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) member: &'a str,
    pub(super) body: &'a [Value],
}

impl Call<'_> {
    pub(super) fn to_bytes(self, serial: u32) -> Vec<u8> {
        let mut body = Vec::new();
        self.body.iter().for_each(|value| put(&mut body, value));
        let signature: String = self.body.iter().map(Value::signature).collect();
        let field = |code: u8, value: Value| {
            Value::Struct(vec![Value::Byte(code), Value::Variant(Box::new(value))])
        };
        let mut fields = vec![
            field(PATH, Value::Path(self.path.to_owned())),
            field(DESTINATION, Value::text(self.destination)),
            field(INTERFACE, Value::text(self.interface)),
            field(MEMBER, Value::text(self.member)),
        ];
        if !signature.is_empty() {
            fields.push(field(SIGNATURE, Value::Signature(signature)));
        }
        let mut bytes = vec![ENDIAN, CALL, NO_AUTO_START, VERSION];
        bytes.extend((body.len() as u32).to_ne_bytes());
        bytes.extend(serial.to_ne_bytes());
        put(&mut bytes, &Value::array("(yv)", fields));
        align(&mut bytes, 8);
        bytes.append(&mut body);
        bytes
    }
}

// "Header Fields".
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// A message that came.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: u8,
    /// Which of our calls it answers.
    pub(super) answers: Option<u32>,
    pub(super) member: String,
    /// Of an error.
    pub(super) error: String,
    pub(super) signature: String,
    pub(super) body: Vec<u8>,
}

/// How long a message is, from its fixed part.
pub(super) fn length(fixed: &[u8; FIXED]) -> Result<usize, SystemdError> {
    let mut reader = Reader::new(fixed);
    if reader.byte()? != ENDIAN {
        return Err(garbled("its byte order is another machine's"));
    }
    reader.at = 4;
    let body = reader.number()? as usize;
    reader.at = 12;
    let fields = reader.number()? as usize;
    let length = fields
        .checked_add(FIXED)
        .map(|end| end.next_multiple_of(8))
        .and_then(|end| end.checked_add(body))
        .filter(|length| *length <= LONGEST);
    length.ok_or_else(|| garbled("it is too long"))
}

impl Message {
    /// A message of the length that [`length`] told.
    pub(super) fn parse(bytes: &[u8]) -> Result<Message, SystemdError> {
        let mut reader = Reader::new(bytes);
        reader.at = 1;
        let mut message = Message {
            kind: reader.byte()?,
            ..Message::default()
        };
        reader.at = 12;
        let end = (reader.number()? as usize).saturating_add(FIXED);
        while reader.at < end {
            reader.align(8);
            let code = reader.byte()?;
            match (code, reader.variant()?) {
                (MEMBER, Value::Text(text)) => message.member = text,
                (ERROR_NAME, Value::Text(text)) => message.error = text,
                (REPLY_SERIAL, Value::U32(serial)) => message.answers = Some(serial),
                (SIGNATURE, Value::Signature(text)) => message.signature = text,
                _ => {}
            }
        }
        reader.align(8);
        let body = bytes.get(reader.at..).ok_or_else(|| garbled(SHORT))?;
        message.body = body.to_vec();
        Ok(message)
    }

    /// The body, if it consists of the types of variants that [`Reader`] knows.
    pub(super) fn values(&self) -> Result<Vec<Value>, SystemdError> {
        let mut reader = Reader::new(&self.body);
        let letters = self.signature.chars();
        letters.map(|letter| reader.value(letter)).collect()
    }
}

const SHORT: &str = "it is too short";

fn garbled(problem: &'static str) -> SystemdError {
    SystemdError::Garbled { problem }
}

/// Takes values off the front of some bytes.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes, at: 0 }
    }

    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], SystemdError> {
        let end = self.at.checked_add(count);
        let taken = end.and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or_else(|| garbled(SHORT))?;
        self.at += count;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, SystemdError> {
        Ok(self.take(1)?[0])
    }

    fn number(&mut self) -> Result<u32, SystemdError> {
        self.align(4);
        let bytes = <[u8; 4]>::try_from(self.take(4)?).map_err(|_| garbled(SHORT))?;
        Ok(u32::from_ne_bytes(bytes))
    }

    fn text(&mut self, length: usize) -> Result<String, SystemdError> {
        let text = std::str::from_utf8(self.take(length)?);
        let text = text.map_err(|_| garbled("a text is not UTF-8"))?.to_owned();
        self.take(1)?;
        Ok(text)
    }

    fn value(&mut self, letter: char) -> Result<Value, SystemdError> {
        match letter {
            'u' => self.number().map(Value::U32),
            's' | 'o' => {
                let length = self.number()? as usize;
                let text = self.text(length)?;
                Ok(match letter {
                    's' => Value::Text(text),
                    _ => Value::Path(text),
                })
            }
            'g' => {
                let length = self.byte()?.into();
                self.text(length).map(Value::Signature)
            }
            'v' => self.variant(),
            _ => Err(garbled("it has a type that nothing here asks for")),
        }
    }

    fn variant(&mut self) -> Result<Value, SystemdError> {
        let length = self.byte()?.into();
        let signature = self.text(length)?;
        let mut letters = signature.chars();
        match (letters.next(), letters.next()) {
            // A variant in a variant would let the sender choose how deep this calls itself.
            (Some(letter), None) if letter != 'v' => self.value(letter),
            _ => Err(garbled("it has a type that nothing here asks for")),
        }
    }
}

#[cfg(all(test, target_endian = "little"))]
mod tests {
    use super::*;

    // What `busctl capture` saw of `busctl call` and systemd 252.
    const START_BODY: &[u8] = b"\
        \x0e\0\0\0captured.scope\0\0\x07\0\0\0replace\0\x0c\x01\0\0\0\0\0\0\x05\0\0\0Slice\0\
        \x01s\0\0\0\0\x09\0\0\0lab.slice\0\0\0\x08\0\0\0Delegate\0\x01b\0\x01\0\0\0\0\0\0\0\
        \x04\0\0\0PIDs\0\x02au\0\0\0\0\x04\0\0\0\xaa\0\0\0\x09\0\0\0MemoryMax\0\x01t\0\0\0\0\
        \0\0\0\0\0\0\0\x04\0\0\0\0\x0b\0\0\0AllowedCPUs\0\x02ay\0\x01\0\0\0\x03\0\0\0\0\0\0\
        \0\x0c\0\0\0DevicePolicy\0\x01s\0\x06\0\0\0strict\0\0\x0b\0\0\0DeviceAllow\0\x05a(ss\
        )\0\0<\0\0\0\0\0\0\0\x0d\0\0\0/dev/char/1:3\0\0\0\x02\0\0\0rw\0\0\0\0\0\0\x0d\0\0\0/\
        dev/char/5:0\0\0\0\x03\0\0\0rwm\0\0\0\0\0";
    const RETURN_OF_START: &[u8] = b"\
        l\x02\x01\x01&\0\0\0\x0c\0\0\0-\0\0\0\x05\x01u\0\x02\0\0\0\x06\x01s\0\x04\0\0\0:1.2\
        \0\0\0\0\x08\x01g\0\x01o\0\0\x07\x01s\0\x04\0\0\0:1.1\0\0\0\0!\0\0\0/org/freedesktop\
        /systemd1/job/118\0";
    const JOB_REMOVED: &[u8] = b"\
        l\x04\x01\x01I\0\0\0\x0d\0\0\0\x8d\0\0\0\x01\x01o\0\x19\0\0\0/org/freedesktop/system\
        d1\0\0\0\0\0\0\0\x02\x01s\0 \0\0\0org.freedesktop.systemd1.Manager\0\0\0\0\0\0\0\0\
        \x03\x01s\0\x0a\0\0\0JobRemoved\0\0\0\0\0\0\x08\x01g\0\x04uoss\0\0\0\0\0\0\0\x07\x01\
        s\0\x04\0\0\0:1.1\0\0\0\0v\0\0\0!\0\0\0/org/freedesktop/systemd1/job/118\0\0\0\x0e\0\
        \0\0captured.scope\0\0\x04\0\0\0done\0";
    const NO_SUCH_UNIT: &[u8] = b"\
        l\x03\x01\x01#\0\0\0\x09\0\0\0]\0\0\0\x05\x01u\0\x02\0\0\0\x06\x01s\0\x04\0\0\0:1.2\
        \0\0\0\0\x04\x01s\0#\0\0\0org.freedesktop.systemd1.NoSuchUnit\0\0\0\0\0\x08\x01g\0\
        \x01s\0\0\x07\x01s\0\x04\0\0\0:1.1\0\0\0\0\x1e\0\0\0Unit nothere.scope not loaded.\0";

    fn property(name: &str, value: Value) -> Value {
        Value::Struct(vec![Value::text(name), Value::Variant(Box::new(value))])
    }

    fn start_body() -> [Value; 4] {
        let device = |name, access| Value::Struct(vec![Value::text(name), Value::text(access)]);
        let devices = vec![
            device("/dev/char/1:3", "rw"),
            device("/dev/char/5:0", "rwm"),
        ];
        let properties = vec![
            property("Slice", Value::text("lab.slice")),
            property("Delegate", Value::Bool(true)),
            property("PIDs", Value::array("u", vec![Value::U32(0xaa)])),
            property("MemoryMax", Value::U64(64 << 20)),
            property("AllowedCPUs", Value::array("y", vec![Value::Byte(3)])),
            property("DevicePolicy", Value::text("strict")),
            property("DeviceAllow", Value::array("(ss)", devices)),
        ];
        [
            Value::text("captured.scope"),
            Value::text("replace"),
            Value::array("(sv)", properties),
            Value::array("(sa(sv))", Vec::new()),
        ]
    }

    #[test]
    fn a_body_is_what_other_clients_send() {
        let mut bytes = Vec::new();
        start_body().iter().for_each(|value| put(&mut bytes, value));
        assert_eq!(bytes, START_BODY);
        let signature: String = start_body().iter().map(Value::signature).collect();
        assert_eq!(signature, "ssa(sv)a(sa(sv))");
    }

    #[test]
    fn a_call_can_be_read_again() {
        let call = Call {
            destination: "org.example",
            path: "/org/example",
            interface: "org.example.Some",
            member: "StartTransientUnit",
            body: &start_body(),
        };
        let bytes = call.to_bytes(7);
        let fixed = bytes[..FIXED].try_into().unwrap();
        assert_eq!(length(fixed).unwrap(), bytes.len());
        let message = Message::parse(&bytes).unwrap();
        assert_eq!((message.kind, message.answers), (CALL, None));
        assert_eq!(message.member, "StartTransientUnit");
        assert_eq!(message.signature, "ssa(sv)a(sa(sv))");
        assert_eq!(message.body, START_BODY);
    }

    #[test]
    fn answers_are_read() {
        let parsed = |bytes: &[u8]| {
            let fixed = bytes[..FIXED].try_into().unwrap();
            assert_eq!(length(fixed).unwrap(), bytes.len());
            let message = Message::parse(bytes).unwrap();
            let values = message.values().unwrap();
            (message, values)
        };
        let job = Value::Path("/org/freedesktop/systemd1/job/118".to_owned());
        let (message, values) = parsed(RETURN_OF_START);
        assert_eq!((message.kind, message.answers), (RETURN, Some(2)));
        assert_eq!(values, std::slice::from_ref(&job));
        let (message, values) = parsed(JOB_REMOVED);
        assert_eq!(
            (message.kind, message.member.as_str()),
            (SIGNAL, "JobRemoved")
        );
        let (unit, done) = (Value::text("captured.scope"), Value::text("done"));
        assert_eq!(values, [Value::U32(118), job, unit, done]);
        let (message, values) = parsed(NO_SUCH_UNIT);
        assert_eq!((message.kind, message.answers), (ERROR, Some(2)));
        assert_eq!(message.error, "org.freedesktop.systemd1.NoSuchUnit");
        assert_eq!(values, [Value::text("Unit nothere.scope not loaded.")]);
    }

    #[test]
    fn what_is_cut_or_changed_is_an_error_and_no_panic() {
        for whole in [RETURN_OF_START, JOB_REMOVED, NO_SUCH_UNIT] {
            for end in FIXED..whole.len() {
                let _ = Message::parse(&whole[..end]).and_then(|message| message.values());
            }
            for at in 0..whole.len() {
                for byte in [0, 1, 0x7f, 0xff] {
                    let mut changed = whole.to_vec();
                    changed[at] = byte;
                    let _ = length(changed[..FIXED].try_into().unwrap());
                    let _ = Message::parse(&changed).and_then(|message| message.values());
                }
            }
        }
        let mut long = [0xff; FIXED];
        long[0] = b'l';
        assert!(length(&long).is_err());
        long[0] = b'B';
        assert!(length(&long).is_err());
    }
}
