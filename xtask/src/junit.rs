//! The part of JUnit's XML that cargo-nextest writes (nexte.st, "JUnit support"): test suites
//! with test cases, each with at most one `failure` or `error` and its output.

/// One test's result.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Case {
    /// The binary: `gamut-tests::main`.
    pub(crate) suite: String,
    /// The path of the test: `ports::publishes_a_udp_port`.
    pub(crate) name: String,
    pub(crate) failed: bool,
    /// What it wrote, both streams; empty unless nextest was told to store the output of tests
    /// that pass (`store-success-output`).
    pub(crate) output: String,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum JunitError {
    #[error("no `testsuites` element")]
    NoSuites,
    #[error("a tag is not closed at byte {0}")]
    Unclosed(usize),
    #[error("a `testcase` without a `{0}` at byte {1}")]
    NoAttribute(&'static str, usize),
}

pub(crate) fn parse(xml: &str) -> Result<Vec<Case>, JunitError> {
    let mut cases: Vec<Case> = Vec::new();
    let mut open: Option<Case> = None;
    let mut in_output = false;
    let mut has_suites = false;
    let mut at = 0;
    while at < xml.len() {
        if !xml[at..].starts_with('<') {
            let end = xml[at..].find('<').map_or(xml.len(), |length| at + length);
            if let Some(case) = open.as_mut().filter(|_| in_output) {
                case.output.push_str(&unescape(&xml[at..end]));
            }
            at = end;
            continue;
        }
        if let Some(data) = xml[at..].strip_prefix("<![CDATA[") {
            let length = data.find("]]>").ok_or(JunitError::Unclosed(at))?;
            if let Some(case) = open.as_mut().filter(|_| in_output) {
                case.output.push_str(&data[..length]);
            }
            at += "<![CDATA[".len() + length + "]]>".len();
            continue;
        }
        let length = tag_length(&xml[at..]).ok_or(JunitError::Unclosed(at))?;
        let tag = Tag::parse(&xml[at + 1..at + length - 1]);
        match (tag.name, tag.form) {
            ("testsuites", _) => has_suites = true,
            ("testcase", Form::Closing) => cases.extend(open.take()),
            ("testcase", form) => {
                let case = tag.case(at)?;
                match form {
                    Form::Empty => cases.push(case),
                    _ => open = Some(case),
                }
            }
            ("failure" | "error", _) => {
                if let Some(case) = open.as_mut() {
                    case.failed = true;
                }
            }
            ("system-out" | "system-err", form) => in_output = form == Form::Opening,
            _ => {}
        }
        at += length;
    }
    has_suites.then_some(cases).ok_or(JunitError::NoSuites)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Opening,
    Closing,
    Empty,
}

#[derive(Debug)]
struct Tag<'a> {
    name: &'a str,
    attributes: &'a str,
    form: Form,
}

impl<'a> Tag<'a> {
    /// `text` is what stands between `<` and `>`.
    fn parse(text: &'a str) -> Self {
        let (text, form) = match (text.strip_prefix('/'), text.strip_suffix('/')) {
            (Some(text), _) => (text, Form::Closing),
            (None, Some(text)) => (text, Form::Empty),
            (None, None) => (text, Form::Opening),
        };
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        Tag {
            name: &text[..end],
            attributes: &text[end..],
            form,
        }
    }

    fn attribute(&self, name: &str) -> Option<String> {
        let mut rest = self.attributes;
        loop {
            let (key, after) = rest.split_once('=')?;
            let after = after.trim_start();
            let quote = after.chars().next()?;
            let (value, after) = after[quote.len_utf8()..].split_once(quote)?;
            if key.trim() == name {
                return Some(unescape(value));
            }
            rest = after;
        }
    }

    fn case(&self, at: usize) -> Result<Case, JunitError> {
        let attribute = |name| {
            self.attribute(name)
                .ok_or(JunitError::NoAttribute(name, at))
        };
        Ok(Case {
            suite: attribute("classname")?,
            name: attribute("name")?,
            failed: false,
            output: String::new(),
        })
    }
}

/// The length of the tag or comment at the start, its `>` included; a `>` in quotes is none.
fn tag_length(xml: &str) -> Option<usize> {
    if xml.starts_with("<!--") {
        return xml.find("-->").map(|at| at + 3);
    }
    let mut quote = None;
    for (at, byte) in xml.bytes().enumerate() {
        match (quote, byte) {
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'>') => return Some(at + 1),
            (Some(open), byte) if open == byte => quote = None,
            _ => {}
        }
    }
    None
}

/// The five predefined entities; numeric ones stay as they are, no test is named with them.
fn unescape(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nextest_file_is_understood() {
        let xml = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="nextest-run" tests="3" failures="1" errors="0" time="1.2">
  <testsuite name="gamut-tests::main" tests="3" disabled="0" errors="0" failures="1">
    <testcase name="a::b" classname="gamut-tests::main" time="0.1"/>
    <!-- <testcase> -->
    <testcase name="a::c" classname="gamut-tests::main" time="0.1">
      <failure type="test failure" message="x > y">gone &lt;</failure>
      <system-out>ran &amp; fell</system-out>
    </testcase>
    <testcase name="a::d" classname="gamut-tests::main">
      <system-err><![CDATA[refused: <no> vm]]></system-err>
    </testcase>
  </testsuite>
</testsuites>"#;
        let cases = parse(xml).unwrap();
        let brief: Vec<(&str, bool, &str)> = cases
            .iter()
            .map(|case| (case.name.as_str(), case.failed, case.output.as_str()))
            .collect();
        assert_eq!(
            brief,
            [
                ("a::b", false, ""),
                ("a::c", true, "ran & fell"),
                ("a::d", false, "refused: <no> vm"),
            ]
        );
        assert_eq!(cases[0].suite, "gamut-tests::main");
    }

    #[test]
    fn other_files_are_refused() {
        assert_eq!(parse("{}"), Err(JunitError::NoSuites));
        assert_eq!(parse("<testsuites"), Err(JunitError::Unclosed(0)));
        assert_eq!(
            parse("<testsuites><testcase classname=\"x\"/>"),
            Err(JunitError::NoAttribute("name", 12))
        );
    }
}
