//! `--format` of commands that print whole objects: `inspect`, `version`, `info`.

use std::io::Write;

use serde::Serialize;
use serde_json::ser::PrettyFormatter;

use super::{ListError, Template, TemplateError};

/// How an object is printed.
#[derive(Debug, Clone)]
pub enum ObjectFormat {
    /// JSON over several lines, fields in the order of the type.
    Pretty,
    /// JSON in one line.
    Json,
    Template(Template),
}

impl ObjectFormat {
    /// `format` as given to `--format`: nothing, `json`, or a template.
    pub fn parse(format: Option<&str>) -> Result<Self, TemplateError> {
        match format {
            None | Some("") => Ok(Self::Pretty),
            Some("json") => Ok(Self::Json),
            Some(template) => Template::parse(template).map(Self::Template),
        }
    }

    /// Prints a list of objects: one JSON array, or a line for each by the template.
    pub fn write_list<T: Serialize>(
        &self,
        objects: &[T],
        output: &mut impl Write,
    ) -> Result<(), ListError> {
        match self {
            Self::Pretty if objects.is_empty() => writeln!(output, "[]")?,
            Self::Pretty | Self::Json => self.json(&objects, output)?,
            Self::Template(template) => {
                for object in objects {
                    render(template, object, output)?;
                }
            }
        }
        Ok(())
    }

    /// Prints one of many, on a line of its own.
    pub fn write_each<T: Serialize>(
        &self,
        object: &T,
        output: &mut impl Write,
    ) -> Result<(), ListError> {
        match self {
            Self::Pretty | Self::Json => Self::Json.json(object, output),
            Self::Template(template) => render(template, object, output),
        }
    }

    /// Prints one object.
    pub fn write<T: Serialize>(
        &self,
        object: &T,
        output: &mut impl Write,
    ) -> Result<(), ListError> {
        match self {
            Self::Pretty | Self::Json => self.json(object, output),
            Self::Template(template) => render(template, object, output),
        }
    }

    fn json<T: Serialize>(&self, value: &T, output: &mut impl Write) -> Result<(), ListError> {
        match self {
            Self::Json => {
                serde_json::to_writer(&mut *output, value).map_err(std::io::Error::from)?
            }
            _ => {
                // Docker's four spaces.
                let formatter = PrettyFormatter::with_indent(b"    ");
                let mut serializer =
                    serde_json::Serializer::with_formatter(&mut *output, formatter);
                value
                    .serialize(&mut serializer)
                    .map_err(std::io::Error::from)?;
            }
        }
        writeln!(output)?;
        Ok(())
    }
}

fn render<T: Serialize>(
    template: &Template,
    object: &T,
    output: &mut impl Write,
) -> Result<(), ListError> {
    let value = serde_json::to_value(object).map_err(std::io::Error::from)?;
    writeln!(output, "{}", template.render(&value)?)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Object {
        #[serde(rename = "Name")]
        name: &'static str,
        #[serde(rename = "Id")]
        id: u32,
    }

    fn list(format: Option<&str>, objects: &[Object]) -> String {
        let mut output = Vec::new();
        ObjectFormat::parse(format)
            .unwrap()
            .write_list(objects, &mut output)
            .unwrap();
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn lists_are_arrays_or_lines() {
        let objects = [Object { name: "a", id: 1 }, Object { name: "b", id: 2 }];
        assert_eq!(
            list(None, &objects[..1]),
            "[\n    {\n        \"Name\": \"a\",\n        \"Id\": 1\n    }\n]\n"
        );
        assert_eq!(list(None, &[]), "[]\n");
        assert_eq!(
            list(Some("json"), &objects),
            "[{\"Name\":\"a\",\"Id\":1},{\"Name\":\"b\",\"Id\":2}]\n"
        );
        assert_eq!(list(Some("{{.Name}}={{.Id}}"), &objects), "a=1\nb=2\n");
    }

    #[test]
    fn one_object_stands_alone() {
        let mut output = Vec::new();
        let format = ObjectFormat::parse(Some("json")).unwrap();
        format
            .write(&Object { name: "a", id: 1 }, &mut output)
            .unwrap();
        assert_eq!(output, b"{\"Name\":\"a\",\"Id\":1}\n");
    }
}
