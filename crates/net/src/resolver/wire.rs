//! DNS messages: what is asked, and answers in the wire form (RFC 1035).

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

/// How long who has asked may keep an answer: containers come and go.
pub(super) const TTL_S: u32 = 5;
/// What is sent in one datagram at most, whatever is asked for (RFC 9715 and its like).
const DATAGRAM_BYTES: u16 = 1232;
/// A header (RFC 1035 section 4.1.1).
const HEADER_BYTES: usize = 12;

/// One question that somebody asks.
#[derive(Debug)]
pub(super) struct Query(Message);

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    Ipv4(String),
    Ipv6(String),
    /// Something else about a name.
    Other(String),
    /// Who has an address.
    Owner(IpAddr),
    /// What no container can be called.
    Foreign,
}

impl Query {
    /// A query with one question; whatever else is `None`.
    pub(super) fn read(bytes: &[u8]) -> Option<Query> {
        let message = Message::from_vec(bytes).ok()?;
        let header = &message.metadata;
        let is_query = header.message_type == MessageType::Query && header.op_code == OpCode::Query;
        (is_query && message.queries.len() == 1).then_some(Query(message))
    }

    pub(super) fn wanted(&self) -> Wanted {
        let Some(question) = self.0.queries.first() else {
            return Wanted::Foreign;
        };
        if question.query_class != DNSClass::IN {
            return Wanted::Foreign;
        }
        if question.query_type == RecordType::PTR
            && let Some(address) = address_of(&question.name)
        {
            return Wanted::Owner(address);
        }
        match (name_of(&question.name), question.query_type) {
            (None, _) => Wanted::Foreign,
            (Some(name), RecordType::A) => Wanted::Ipv4(name),
            (Some(name), RecordType::AAAA) => Wanted::Ipv6(name),
            (Some(name), _) => Wanted::Other(name),
        }
    }

    /// How long an answer in one datagram may be.
    pub(super) fn datagram_bytes(&self) -> usize {
        usize::from(self.0.max_payload().min(DATAGRAM_BYTES))
    }

    /// The answer with addresses, none of which may be there, of at most so many bytes.
    pub(super) fn addresses(&self, addresses: &[IpAddr], limit_bytes: usize) -> Vec<u8> {
        let data = addresses.iter().map(|address| match address {
            IpAddr::V4(address) => RData::A(A(*address)),
            IpAddr::V6(address) => RData::AAAA(AAAA(*address)),
        });
        self.answer(data.collect(), limit_bytes)
    }

    /// The answer that an address is `name`'s.
    pub(super) fn owner(&self, name: &str, limit_bytes: usize) -> Vec<u8> {
        let name = Name::from_ascii(format!("{name}."));
        let data = name.map(|name| RData::PTR(PTR(name)));
        self.answer(data.into_iter().collect(), limit_bytes)
    }

    /// The name that is asked about, as it can be read.
    pub(super) fn name(&self) -> String {
        let name = self.0.queries.first().map(|question| &question.name);
        name.map_or_else(String::new, |name| {
            name_of(name).unwrap_or_else(|| name.to_ascii())
        })
    }

    /// The answer that there is no such name.
    pub(super) fn no_such_name(&self) -> Vec<u8> {
        let mut message = self.reply();
        message.metadata.response_code = ResponseCode::NXDomain;
        message.to_vec().unwrap_or_default()
    }

    /// The answer that nobody can tell.
    pub(super) fn failure(&self) -> Vec<u8> {
        let mut message = self.reply();
        message.metadata.response_code = ResponseCode::ServFail;
        message.to_vec().unwrap_or_default()
    }

    fn answer(&self, data: Vec<RData>, limit_bytes: usize) -> Vec<u8> {
        let mut message = self.reply();
        message.metadata.authoritative = true;
        if let Some(question) = self.0.queries.first() {
            let name = &question.name;
            let records = data.into_iter();
            message.answers = records
                .map(|data| Record::from_rdata(name.clone(), TTL_S, data))
                .collect();
        }
        let bytes = message.to_vec().unwrap_or_default();
        match bytes.len() > limit_bytes {
            true => message.truncate().to_vec().unwrap_or_default(),
            false => bytes,
        }
    }

    fn reply(&self) -> Message {
        let asked = &self.0.metadata;
        let mut message = Message::response(asked.id, OpCode::Query);
        message.metadata.recursion_desired = asked.recursion_desired;
        message.metadata.recursion_available = true;
        message.queries.clone_from(&self.0.queries);
        if self.0.edns.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(DATAGRAM_BYTES);
            message.edns = Some(edns);
        }
        message
    }
}

/// In lower case, without the last dot; `None` if it is no text.
fn name_of(name: &Name) -> Option<String> {
    let mut text = String::new();
    for label in name.iter() {
        if !text.is_empty() {
            text.push('.');
        }
        let label = std::str::from_utf8(label).ok()?;
        if !label
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'.')
        {
            return None;
        }
        text.push_str(label);
    }
    text.make_ascii_lowercase();
    Some(text)
}

/// The one address that a name below `in-addr.arpa` or `ip6.arpa` stands for.
fn address_of(name: &Name) -> Option<IpAddr> {
    let network = name.parse_arpa_name().ok()?;
    let whole = network.prefix_len() == network.max_prefix_len();
    whole.then(|| network.addr())
}

/// Whether `answer` is one to `query`: the number, and the question in whatever case.
pub(super) fn is_answer_to(answer: &[u8], query: &[u8]) -> bool {
    let Some(end) = question_end(query) else {
        return false;
    };
    let (Some(theirs), Some(ours)) = (answer.get(HEADER_BYTES..end), query.get(HEADER_BYTES..end))
    else {
        return false;
    };
    answer.get(..2) == query.get(..2)
        && answer.get(2).is_some_and(|flags| flags & 0x80 != 0)
        && theirs.eq_ignore_ascii_case(ours)
}

/// The addresses that an answer gives, and for how many seconds; none if it cannot be read.
pub(super) fn addresses_in(answer: &[u8]) -> Vec<(IpAddr, u32)> {
    let Ok(message) = Message::from_vec(answer) else {
        return Vec::new();
    };
    let answers = message.answers.iter();
    answers
        .filter_map(|record| match &record.data {
            RData::A(A(address)) => Some(((*address).into(), record.ttl)),
            RData::AAAA(AAAA(address)) => Some(((*address).into(), record.ttl)),
            _ => None,
        })
        .collect()
}

/// Whether a server has declined to answer: another may not.
pub(super) fn is_refusal(answer: &[u8]) -> bool {
    let code = answer.get(3).map_or(0, |flags| flags & 0x0f);
    [2, 4, 5].contains(&code)
}

/// Where the first question ends: its labels, and four bytes.
fn question_end(message: &[u8]) -> Option<usize> {
    let mut at = HEADER_BYTES;
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1 + length;
        match length {
            0 => return Some(at + 4),
            1..=63 => {}
            // A question is the first thing in a message, and has nothing to point at.
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::Query as Question;

    use super::*;

    fn query(name: &str, kind: RecordType) -> (Vec<u8>, Query) {
        let mut message = Message::query();
        message.metadata.id = 4711;
        message.add_query(Question::query(Name::from_ascii(name).unwrap(), kind));
        let bytes = message.to_vec().unwrap();
        let query = Query::read(&bytes).unwrap();
        (bytes, query)
    }

    #[test]
    fn what_is_asked_is_understood() {
        let wanted = |name: &str, kind| query(name, kind).1.wanted();
        assert_eq!(
            wanted("Web.Net.", RecordType::A),
            Wanted::Ipv4("web.net".into())
        );
        assert_eq!(wanted("web.", RecordType::AAAA), Wanted::Ipv6("web".into()));
        assert_eq!(wanted("web.", RecordType::MX), Wanted::Other("web".into()));
        let owner = "2.0.1.10.in-addr.arpa.";
        let address: IpAddr = "10.1.0.2".parse().unwrap();
        assert_eq!(wanted(owner, RecordType::PTR), Wanted::Owner(address));
        for bytes in [&[][..], &[0; 12], &[255; 64]] {
            assert!(Query::read(bytes).is_none());
        }
    }

    #[test]
    fn answers_fit_their_questions() {
        let (bytes, query) = query("web.", RecordType::A);
        let address: IpAddr = "10.1.0.2".parse().unwrap();
        let answer = query.addresses(&[address], 512);
        assert!(is_answer_to(&answer, &bytes));
        assert!(!is_answer_to(&bytes, &bytes));
        assert!(!is_refusal(&answer));
        assert!(is_refusal(&query.failure()));
        let read = Message::from_vec(&answer).unwrap();
        assert_eq!(
            read.answers[0].data,
            RData::A(A("10.1.0.2".parse().unwrap()))
        );
        let many = vec![address; 100];
        let cut = Message::from_vec(&query.addresses(&many, 512)).unwrap();
        assert!(cut.metadata.truncation && cut.answers.is_empty());
        let mut forged = answer;
        forged[0] ^= 1;
        assert!(!is_answer_to(&forged, &bytes));
    }
}
