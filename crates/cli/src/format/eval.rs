//! Runs a tree over data, within a budget of steps and of output.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::Value;

use super::ast::{Base, Binding, Branch, Command, Node, Operand, Pipeline};
use super::builtin;
use super::error::{Found, TemplateProblem as Problem};
use super::text::{kind_name, print, truth};
use super::value::{OUTPUT_MAXIMUM_BYTES, Val};

/// Nodes and commands evaluated; a nested `range` over big data stops here.
const STEPS_MAXIMUM: usize = 4_000_000;

/// What is rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Data,
    /// Column titles: functions pass their last argument through, unknown fields are empty.
    Heading,
}

pub(super) fn run(
    nodes: &[Node],
    data: &Value,
    labels: Option<&BTreeMap<String, String>>,
    mode: Mode,
) -> Result<String, Found> {
    let mut evaluation = Evaluation {
        mode,
        labels,
        output: String::new(),
        steps: 0,
        variables: vec![(String::new(), Cow::Borrowed(data))],
    };
    evaluation.nodes(nodes, &Cow::Borrowed(data))?;
    Ok(evaluation.output)
}

struct Evaluation<'a> {
    mode: Mode,
    /// What `.Label` looks into.
    labels: Option<&'a BTreeMap<String, String>>,
    output: String,
    steps: usize,
    /// Innermost last; the first is `$`, the data itself.
    variables: Vec<(String, Val<'a>)>,
}

enum Flow {
    Next,
    Break,
    Continue,
}

impl<'a> Evaluation<'a> {
    fn step(&mut self, at: usize) -> Result<(), Found> {
        self.steps += 1;
        match self.steps > STEPS_MAXIMUM || self.output.len() > OUTPUT_MAXIMUM_BYTES {
            true => Err(Found::new(at, Problem::TooMuch)),
            false => Ok(()),
        }
    }

    fn nodes(&mut self, nodes: &[Node], dot: &Val<'a>) -> Result<Flow, Found> {
        for node in nodes {
            self.step(0)?;
            let flow = match node {
                Node::Text(text) => {
                    self.output.push_str(text);
                    Flow::Next
                }
                Node::Print(pipeline) => {
                    let value = self.pipeline(pipeline, dot)?;
                    if pipeline.variables.is_empty() {
                        print(&mut self.output, &value);
                    }
                    Flow::Next
                }
                Node::If(branches) => self.branches(branches, dot, Dot::Same)?,
                Node::With(branches) => self.branches(branches, dot, Dot::Condition)?,
                Node::Range {
                    pipeline,
                    body,
                    otherwise,
                } => self.range(pipeline, body, otherwise, dot)?,
                Node::Break => Flow::Break,
                Node::Continue => Flow::Continue,
            };
            if !matches!(flow, Flow::Next) {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn branches(&mut self, branches: &[Branch], dot: &Val<'a>, inner: Dot) -> Result<Flow, Found> {
        let scope = self.variables.len();
        let mut flow = Flow::Next;
        for Branch { condition, body } in branches {
            let value = match condition {
                Some(pipeline) => self.pipeline(pipeline, dot)?,
                None => {
                    flow = self.nodes(body, dot)?;
                    break;
                }
            };
            if truth(&value) {
                flow = match inner {
                    Dot::Same => self.nodes(body, dot)?,
                    Dot::Condition => self.nodes(body, &value)?,
                };
                break;
            }
        }
        self.variables.truncate(scope);
        Ok(flow)
    }

    fn range(
        &mut self,
        pipeline: &Pipeline,
        body: &[Node],
        otherwise: &[Node],
        dot: &Val<'a>,
    ) -> Result<Flow, Found> {
        let scope = self.variables.len();
        let value = self.commands(pipeline, dot)?;
        let items = items(value).map_err(|kind| Found::new(pipeline.at, Problem::Range(kind)))?;
        let mut empty = true;
        for (key, item) in items {
            self.step(pipeline.at)?;
            empty = false;
            match &pipeline.variables[..] {
                [one] => self.bind(pipeline, one, item.clone())?,
                [first, second] => {
                    self.bind(pipeline, first, key)?;
                    self.bind(pipeline, second, item.clone())?;
                }
                _ => {}
            }
            let flow = self.nodes(body, &item)?;
            if pipeline.binding == Binding::Declare {
                self.variables.truncate(scope);
            }
            if matches!(flow, Flow::Break) {
                break;
            }
        }
        let flow = match empty {
            true => self.nodes(otherwise, dot)?,
            false => Flow::Next,
        };
        self.variables.truncate(scope);
        Ok(flow)
    }

    fn bind(&mut self, pipeline: &Pipeline, name: &str, value: Val<'a>) -> Result<(), Found> {
        if pipeline.binding == Binding::Declare {
            self.variables.push((name.to_owned(), value));
            return Ok(());
        }
        let slot = self
            .variables
            .iter_mut()
            .rev()
            .find(|(known, _)| known == name);
        match slot {
            Some((_, slot)) => {
                *slot = value;
                Ok(())
            }
            None => Err(Found::new(
                pipeline.at,
                Problem::UnknownVariable(name.to_owned()),
            )),
        }
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Val<'a>) -> Result<Val<'a>, Found> {
        let value = self.commands(pipeline, dot)?;
        if let [name] = &pipeline.variables[..] {
            self.bind(pipeline, name, value.clone())?;
        }
        Ok(value)
    }

    fn commands(&mut self, pipeline: &Pipeline, dot: &Val<'a>) -> Result<Val<'a>, Found> {
        let mut value = None;
        for command in &pipeline.commands {
            self.step(pipeline.at)?;
            value = Some(self.command(command, dot, value)?);
        }
        // The parser gives every pipeline a command.
        value.ok_or_else(|| Found::new(pipeline.at, Problem::Missing))
    }

    fn command(
        &mut self,
        command: &Command,
        dot: &Val<'a>,
        piped: Option<Val<'a>>,
    ) -> Result<Val<'a>, Found> {
        let Some((first, rest)) = command.words.split_first() else {
            return Err(Found::new(0, Problem::Missing));
        };
        if let Base::Function(name) = &first.base
            && first.fields.is_empty()
        {
            return self.call(name, first.at, rest, dot, piped);
        }
        if rest.is_empty() && piped.is_none() {
            return self.operand(first, dot);
        }
        // A method of a row: Docker has one, `.Label "key"`.
        if let (Base::Dot, [method]) = (&first.base, &first.fields[..])
            && method == "Label"
            && (self.labels.is_some() || self.mode == Mode::Heading)
            && let Some(key) = self.arguments(rest, dot, piped)?.first()
        {
            return Ok(self.label(key));
        }
        let name = first
            .fields
            .last()
            .cloned()
            .unwrap_or_else(|| ".".to_owned());
        Err(Found::new(first.at, Problem::TakesNoArguments(name)))
    }

    fn label(&self, key: &Value) -> Val<'a> {
        if self.mode == Mode::Heading {
            return Cow::Owned(key.clone());
        }
        let value = key.as_str().and_then(|key| self.labels?.get(key));
        Cow::Owned(Value::from(value.map_or("", String::as_str)))
    }

    fn arguments(
        &mut self,
        words: &[Operand],
        dot: &Val<'a>,
        piped: Option<Val<'a>>,
    ) -> Result<Vec<Val<'a>>, Found> {
        let mut arguments = Vec::with_capacity(words.len() + 1);
        for word in words {
            arguments.push(self.operand(word, dot)?);
        }
        arguments.extend(piped);
        Ok(arguments)
    }

    fn call(
        &mut self,
        name: &str,
        at: usize,
        words: &[Operand],
        dot: &Val<'a>,
        piped: Option<Val<'a>>,
    ) -> Result<Val<'a>, Found> {
        if !builtin::exists(name) {
            return Err(Found::new(at, Problem::UnknownFunction(name.to_owned())));
        }
        if matches!(name, "and" | "or") {
            return self.short_circuit(name, at, words, dot, piped);
        }
        let arguments = self.arguments(words, dot, piped)?;
        if self.mode == Mode::Heading && builtin::is_dockers(name) {
            // `join .Names ","`: the title stands where it stands.
            let title = arguments.into_iter().find(|value| value.is_string());
            return Ok(title.unwrap_or(Cow::Owned(Value::from(""))));
        }
        builtin::call(name, arguments).map_err(|problem| Found::new(at, problem))
    }

    /// `and` gives its first false argument, `or` its first true one, else the last; the rest
    /// is not evaluated.
    fn short_circuit(
        &mut self,
        name: &str,
        at: usize,
        words: &[Operand],
        dot: &Val<'a>,
        piped: Option<Val<'a>>,
    ) -> Result<Val<'a>, Found> {
        let mut last = None;
        for word in words {
            let value = self.operand(word, dot)?;
            if truth(&value) == (name == "or") {
                return Ok(value);
            }
            last = Some(value);
        }
        piped.or(last).ok_or_else(|| {
            let problem = Problem::Arguments {
                function: name.to_owned(),
                wanted: "at least one argument",
                given: 0,
            };
            Found::new(at, problem)
        })
    }

    fn operand(&mut self, operand: &Operand, dot: &Val<'a>) -> Result<Val<'a>, Found> {
        self.step(operand.at)?;
        let mut value = match &operand.base {
            Base::Dot => dot.clone(),
            Base::Literal(value) => Cow::Owned(value.clone()),
            Base::Parenthesis(pipeline) => self.pipeline(pipeline, dot)?,
            Base::Function(name) => self.call(name, operand.at, &[], dot, None)?,
            Base::Variable(name) => {
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                match found {
                    Some((_, value)) => value.clone(),
                    None => {
                        let problem = Problem::UnknownVariable(name.clone());
                        return Err(Found::new(operand.at, problem));
                    }
                }
            }
        };
        for name in &operand.fields {
            value = self
                .field(value, name)
                .map_err(|problem| Found::new(operand.at, problem))?;
        }
        Ok(value)
    }

    /// A field by name. A missing one is an error if it is written like a field of Docker's
    /// (a capital first), and nothing if it is written like a key of a map.
    fn field(&self, value: Val<'a>, name: &str) -> Result<Val<'a>, Problem> {
        if self.mode == Mode::Heading {
            let title = value.get(name).cloned();
            return Ok(Cow::Owned(title.unwrap_or_else(|| Value::from(name))));
        }
        let found = match value {
            Cow::Borrowed(value) => value.get(name).map(Cow::Borrowed),
            Cow::Owned(ref value) => value.get(name).cloned().map(Cow::Owned),
        };
        if let Some(found) = found {
            return Ok(found);
        }
        match &*value {
            Value::Object(map) if name.starts_with(char::is_uppercase) => {
                let known = map.keys().cloned().collect();
                Err(Problem::NoField(name.to_owned(), known))
            }
            Value::Object(_) | Value::Null => Ok(Cow::Owned(Value::Null)),
            other => Err(Problem::FieldOf(name.to_owned(), kind_name(other))),
        }
    }
}

#[derive(Clone, Copy)]
enum Dot {
    Same,
    Condition,
}

/// Key and value of each item of a list, a map or a count.
fn items(
    value: Val<'_>,
) -> Result<Box<dyn Iterator<Item = (Val<'_>, Val<'_>)> + '_>, &'static str> {
    let index = |index: usize| Cow::Owned(Value::from(index));
    Ok(match value {
        Cow::Borrowed(Value::Array(list)) => Box::new(
            list.iter()
                .enumerate()
                .map(move |(at, item)| (index(at), Cow::Borrowed(item))),
        ),
        Cow::Owned(Value::Array(list)) => Box::new(
            list.into_iter()
                .enumerate()
                .map(move |(at, item)| (index(at), Cow::Owned(item))),
        ),
        Cow::Borrowed(Value::Object(map)) => Box::new(
            map.iter()
                .map(|(key, item)| (Cow::Owned(Value::from(key.as_str())), Cow::Borrowed(item))),
        ),
        Cow::Owned(Value::Object(map)) => Box::new(
            map.into_iter()
                .map(|(key, item)| (Cow::Owned(Value::from(key)), Cow::Owned(item))),
        ),
        other => match &*other {
            Value::Null => Box::new(std::iter::empty()),
            Value::Number(number) => match number.as_u64() {
                Some(count) => Box::new((0..count).map(|at| {
                    let at: Val<'_> = Cow::Owned(Value::from(at));
                    (at.clone(), at)
                })),
                None => Box::new(std::iter::empty()),
            },
            unfit => return Err(kind_name(unfit)),
        },
    })
}
