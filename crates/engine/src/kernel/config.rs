//! A kernel's configuration: Kconfig's `.config` text, and where a kernel's file has it inside
//! (kernel/configs.c: gzip between two marks).

use std::collections::BTreeMap;
use std::io::Read;

use flate2::read::GzDecoder;

/// No configuration is longer than this; today's longest are a third of a MiB.
const MAX_CONFIG_BYTES: u64 = 4 << 20;
const START: &[u8] = b"IKCFG_ST";

/// Options by name, without `CONFIG_`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config(BTreeMap<String, Value>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Said to be off; what is not mentioned is off as well.
    No,
    Yes,
    Module,
    /// A number or a text, as it is written.
    Text(String),
}

impl Config {
    /// Reads `.config` text; the last word on an option counts. Lines that are none are comments.
    #[must_use]
    pub fn parse(text: &str) -> Config {
        Config(text.lines().filter_map(line).collect())
    }

    /// What a kernel's uncompressed bytes have of their own (CONFIG_IKCONFIG).
    #[must_use]
    pub fn of_kernel(kernel: &[u8]) -> Option<String> {
        let mut from = 0;
        loop {
            // The mark may occur in the code that looks for it: what follows has to be gzip.
            let at = from + super::image::position(kernel.get(from..)?, START)?;
            from = at + START.len();
            let mut text = String::new();
            let read = GzDecoder::new(kernel.get(from..)?)
                .take(MAX_CONFIG_BYTES)
                .read_to_string(&mut text);
            if read.is_ok() && text.contains("CONFIG_") {
                return Some(text);
            }
        }
    }

    #[must_use]
    pub fn value(&self, option: &str) -> &Value {
        self.0.get(option).unwrap_or(&Value::No)
    }

    /// Every option that is mentioned.
    pub fn options(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}

fn line(line: &str) -> Option<(String, Value)> {
    let line = line.trim();
    if let Some(rest) = line.strip_prefix("# CONFIG_") {
        let name = rest.strip_suffix(" is not set")?;
        return Some((name.to_owned(), Value::No));
    }
    let (name, value) = line.strip_prefix("CONFIG_")?.split_once('=')?;
    let value = match value {
        "y" => Value::Yes,
        "m" => Value::Module,
        "n" => Value::No,
        text => Value::Text(text.to_owned()),
    };
    Some((name.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn options_are_read() {
        let config = Config::parse(
            "# a comment\nCONFIG_A=y\nCONFIG_B=m\n# CONFIG_C is not set\nCONFIG_D=\"x y\"\nCONFIG_E=n\n\
             CONFIG_A=m\nnothing\n# CONFIG_F\n",
        );
        assert_eq!(config.value("A"), &Value::Module);
        assert_eq!(config.value("B"), &Value::Module);
        assert_eq!(config.value("C"), &Value::No);
        assert_eq!(config.value("D"), &Value::Text("\"x y\"".to_owned()));
        assert_eq!(config.value("F"), &Value::No);
        assert_eq!(config.options().count(), 5);
    }

    #[test]
    fn a_kernel_may_carry_its_own() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(b"CONFIG_X=y\n").expect("written");
        let gzip = gzip.finish().expect("finished");
        let kernel = [b"code IKCFG_ST not it", START, &gzip, b"IKCFG_ED code"].concat();
        assert_eq!(Config::of_kernel(&kernel).as_deref(), Some("CONFIG_X=y\n"));
        assert_eq!(Config::of_kernel(b"IKCFG_ST"), None);
        assert_eq!(Config::of_kernel(b""), None);
    }
}
