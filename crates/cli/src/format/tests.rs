//! What Docker's users write, and what must never happen.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{ListFormat, Row, Template, TemplateProblem};

fn data() -> Value {
    json!({
        "Id": "0123456789abcdef",
        "Name": "/web",
        "State": {"Status": "running", "Pid": 42, "Running": true, "ExitCode": 0},
        "Config": {
            "Env": ["A=1", "B=2"],
            "Labels": {"com.example": "x", "tier": "front"},
            "Cmd": null,
        },
        "Load": 1.5,
        "Tiny": 1e-7,
        "Mounts": [
            {"Source": "/a", "Destination": "/x", "RW": true},
            {"Source": "/b", "Destination": "/y", "RW": false},
        ],
    })
}

fn render(template: &str) -> String {
    Template::parse(template)
        .and_then(|template| template.render(&data()))
        .unwrap_or_else(|error| panic!("{template}: {error}"))
}

fn failure(template: &str) -> String {
    let result = Template::parse(template).and_then(|template| template.render(&data()));
    match result {
        Ok(text) => panic!("{template}: {text}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn fields_and_values() {
    for (template, text) in [
        ("plain", "plain"),
        ("{{.State.Status}}", "running"),
        ("{{ .State.Pid }}", "42"),
        ("{{$.Name}}", "/web"),
        ("{{.Load}} {{.Tiny}}", "1.5 1e-07"),
        ("{{.Config.Env}}", "[A=1 B=2]"),
        ("{{.Config.Labels}}", "map[com.example:x tier:front]"),
        ("{{.Config.Labels.tier}}", "front"),
        ("{{.Config.Labels.absent}}", "<no value>"),
        ("{{.Config.Cmd}}", "<no value>"),
        (
            "{{json .Mounts}}",
            r#"[{"Destination":"/x","RW":true,"Source":"/a"},{"Destination":"/y","RW":false,"Source":"/b"}]"#,
        ),
        ("{{json .State.Status}}", "\"running\""),
        ("{{(index .Mounts 1).Source}}", "/b"),
        ("{{index .Config.Labels \"com.example\"}}", "x"),
        ("[{{index .Config.Labels \"none\"}}]", "[]"),
        ("[{{index .Config.Cmd \"none\"}}]", "[]"),
        ("{{index .Config.Env 0}}", "A=1"),
    ] {
        assert_eq!(render(template), text, "{template}");
    }
}

#[test]
fn control_structures() {
    for (template, text) in [
        ("{{range .Config.Env}}<{{.}}>{{end}}", "<A=1><B=2>"),
        (
            "{{range $i, $e := .Config.Env}}{{$i}}:{{$e}} {{end}}",
            "0:A=1 1:B=2 ",
        ),
        ("{{range $e := .Config.Env}}{{$e}},{{end}}", "A=1,B=2,"),
        (
            "{{range $k, $v := .Config.Labels}}{{$k}}={{$v}};{{end}}",
            "com.example=x;tier=front;",
        ),
        ("{{range .Config.Cmd}}x{{else}}none{{end}}", "none"),
        ("{{range 3}}{{.}}{{end}}", "012"),
        (
            "{{range .Mounts}}{{if .RW}}{{.Source}}{{break}}{{end}}{{end}}",
            "/a",
        ),
        (
            "{{range .Mounts}}{{if .RW}}{{continue}}{{end}}{{.Source}}{{end}}",
            "/b",
        ),
        ("{{if .State.Running}}up{{else}}down{{end}}", "up"),
        (
            "{{if .State.ExitCode}}bad{{else if .Name}}named{{else}}?{{end}}",
            "named",
        ),
        (
            "{{with .State}}{{.Status}} of {{$.Name}}{{end}}",
            "running of /web",
        ),
        (
            "{{with .Config.Cmd}}x{{else}}no command{{end}}",
            "no command",
        ),
        (
            "{{with .Config.Cmd}}x{{else with .Name}}{{.}}{{end}}",
            "/web",
        ),
        ("{{$x := 1}}{{if true}}{{$x = 2}}{{end}}{{$x}}", "2"),
        ("{{$x := 1}}{{if true}}{{$x := 2}}{{$x}}{{end}}{{$x}}", "21"),
        ("{{with $x := .Name}}{{$x}}{{end}}", "/web"),
        ("a {{- /* note */ -}} b", "ab"),
        ("a{{/* note */}}b", "ab"),
        ("a  {{- .Name -}}  b", "a/webb"),
        ("{{- range .Mounts -}} {{.Source}} {{- end -}}", "/a/b"),
        ("{{ -3 }}", "-3"),
    ] {
        assert_eq!(render(template), text, "{template}");
    }
}

#[test]
fn functions() {
    for (template, text) in [
        ("{{.State.Status | upper | printf \"%s!\"}}", "RUNNING!"),
        ("{{upper (slice .Id 0 4)}}", "0123"),
        ("{{slice .Config.Env 1}}", "[B=2]"),
        ("{{join .Config.Env \", \"}}", "A=1, B=2"),
        ("{{len .Mounts}} {{len .Name}} {{len .Config.Cmd}}", "2 4 0"),
        ("{{index (split .Name \"/\") 1}}", "web"),
        ("{{title \"hello big world\"}}", "Hello Big World"),
        ("[{{pad .Name 1 2}}][{{pad \"\" 3 3}}]", "[ /web  ][]"),
        ("{{truncate .Id 12}}", "0123456789ab"),
        ("{{lower \"ÀB\"}}", "àb"),
        (
            "{{print 1 2 \"a\" \"b\" 3}}",
            "1 2a b3".replace("a b", "ab").as_str(),
        ),
        ("{{println .Name 1}}", "/web 1\n"),
        (
            "{{printf \"%-6s|%6s|%05d|%x|%q|%v|%t|%%|%.2f\" \"a\" \"b\" 42 255 \"c\" .Config.Env true 1.239}}",
            "a     |     b|00042|ff|\"c\"|[A=1 B=2]|true|%|1.24",
        ),
        ("{{printf \"%d %d\" \"x\"}}", "%!d(string=x) %!d(MISSING)"),
        ("{{printf \"x\" 1}}", "x%!(EXTRA int=1)"),
        (
            "{{printf \"%g %e %+d\" 1.5 1500.0 3}}",
            "1.5 1.500000e+03 +3",
        ),
        ("{{eq .State.Status \"exited\" \"running\"}}", "true"),
        (
            "{{ne 1 2}} {{lt 1 2}} {{le 2 2}} {{gt \"b\" \"a\"}} {{ge 1 2}}",
            "true true true true false",
        ),
        ("{{not .State.Running}}", "false"),
        (
            "{{and .Name .State.Pid}} {{or \"\" 0 \"z\"}} {{or .Name (index .Mounts 99)}}",
            "42 z /web",
        ),
        (
            "{{if and .State.Running (eq .State.ExitCode 0)}}fine{{end}}",
            "fine",
        ),
        (
            "{{`raw \\n`}} {{\"tab\\t\\u0041\\x42\\103\"}} {{'a'}}",
            "raw \\n tab\tABC 97",
        ),
        ("{{0x1f}} {{1_000}} {{0b11}} {{1e3}}", "31 1000 3 1000"),
    ] {
        assert_eq!(render(template), text, "{template}");
    }
}

#[test]
fn errors_say_where_and_what() {
    for (template, message) in [
        (
            "{{.Nmae}}",
            "template line 1, column 3: there is no field `Nmae`",
        ),
        (
            "a\n{{ .State.Foo }}",
            "template line 2, column 4: there is no field `Foo`",
        ),
        (
            "{{.Name.First}}",
            "template line 1, column 3: a string has no field `First`",
        ),
        (
            "{{.Name",
            "template line 1, column 1: the action is not closed; `}}` is missing",
        ),
        (
            "{{}}",
            "template line 1, column 3: something is missing here",
        ),
        (
            "{{if .Name}}x",
            "template line 1, column 1: `if` has no `end`",
        ),
        ("x{{end}}", "template line 1, column 2: unexpected `end`"),
        ("{{else}}", "template line 1, column 1: unexpected `else`"),
        (
            "{{if 1}}{{else}}{{else}}{{end}}",
            "template line 1, column 17: unexpected `else`",
        ),
        (
            "{{foo .Name}}",
            "template line 1, column 3: function `foo` is not known",
        ),
        (
            "{{$x}}",
            "template line 1, column 3: variable `$x` is not known",
        ),
        (
            "{{$x = 1}}",
            "template line 1, column 3: variable `$x` is not known",
        ),
        (
            "{{.Name 1}}",
            "template line 1, column 3: `Name` takes no arguments",
        ),
        (
            "{{upper 1}}",
            "template line 1, column 3: `upper` cannot take a number",
        ),
        (
            "{{join .Config.Env}}",
            "template line 1, column 3: `join` takes a list and a separator, not 1",
        ),
        (
            "{{index .Mounts 9}}",
            "template line 1, column 3: the index 9 is out of range",
        ),
        (
            "{{lt 1 \"a\"}}",
            "template line 1, column 3: `lt`: the values cannot be compared",
        ),
        (
            "{{range .Name}}{{end}}",
            "template line 1, column 9: cannot range over a string",
        ),
        (
            "{{break}}",
            "template line 1, column 1: `break` stands outside of a `range`",
        ),
        (
            "{{define \"x\"}}{{end}}",
            "template line 1, column 1: `define` is not supported",
        ),
        (
            "{{\"a}}",
            "template line 1, column 3: the quotation is not closed",
        ),
        (
            "{{(.Name}}",
            "template line 1, column 3: the parenthesis is not closed",
        ),
        (
            "{{.Name | 3}}",
            "template line 1, column 11: unexpected `a constant`",
        ),
        (
            "{{/* x }}",
            "template line 1, column 1: the comment is not closed",
        ),
        ("{{1x}}", "template line 1, column 3: `1x` is not a number"),
        ("{{#}}", "template line 1, column 3: unexpected `#`"),
    ] {
        assert_eq!(failure(template), message, "{template}");
    }
}

#[test]
fn nothing_recurses_or_grows_without_bound() {
    let deep = format!("{{{{{}1{}}}}}", "(".repeat(100_000), ")".repeat(100_000));
    assert!(failure(&deep).ends_with("nested too deeply"));
    let deep = "{{if 1}}".repeat(100_000);
    assert!(failure(&deep).ends_with("nested too deeply"));
    assert!(failure("{{range 1000000000000}}{{end}}").ends_with("takes too long"));
    let doubling = "{{$x := \"aaaaaaaa\"}}{{range 60}}{{$x = printf \"%s%s\" $x $x}}{{end}}";
    assert!(failure(doubling).ends_with("takes too long"));
    assert_eq!(render("{{len (printf \"%99999999d\" 1)}}"), "4096");
    assert_eq!(render("{{len (pad \"a\" 99999999 0)}}"), "4097");
}

/// Every way to cut or to mix these pieces must end in a value or an error, never in a panic.
#[test]
fn no_mixture_of_pieces_panics() {
    const PIECES: [&str; 34] = [
        "{{",
        "}}",
        "{{-",
        "-}}",
        " ",
        ".",
        ".Name",
        "$",
        "$x",
        ":=",
        "=",
        "|",
        "(",
        ")",
        ",",
        "if",
        "else",
        "end",
        "range",
        "with",
        "index",
        "slice",
        "printf",
        "\"%*.*d é\"",
        "'é'",
        "`",
        "\"\\u00",
        "/*",
        "*/",
        "-9223372036854775808",
        "1e999",
        "0x",
        "é",
        "break",
    ];
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let data = data();
    for _ in 0..40_000 {
        let mut template = String::new();
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let mut bits = state;
        for _ in 0..(state % 14) {
            template.push_str(PIECES[usize::try_from(bits % 34).unwrap()]);
            bits = bits.rotate_left(9).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        if let Ok(template) = Template::parse(&template) {
            let _ = template.render(&data);
        }
    }
}

const TITLES: [(&str, &str); 2] = [("ID", "CONTAINER ID"), ("Names", "NAMES")];

fn rows() -> Vec<Row> {
    let labels = BTreeMap::from([("tier".to_owned(), "front".to_owned())]);
    vec![
        Row::new(
            [
                ("ID", "0123456789ab".to_owned()),
                ("Names", "web".to_owned()),
            ],
            labels,
        ),
        Row::new(
            [
                ("ID", "ba9876543210".to_owned()),
                ("Names", "\x1b[2J".to_owned()),
            ],
            BTreeMap::new(),
        ),
    ]
}

fn list(format: Option<&str>) -> String {
    let mut output = Vec::new();
    ListFormat::parse(format, "{{.ID}}\\t{{.Names}}", &TITLES)
        .unwrap()
        .write(&rows(), &mut output)
        .unwrap();
    String::from_utf8(output).unwrap()
}

#[test]
fn lists() {
    let table = "CONTAINER ID   NAMES\n0123456789ab   web\nba9876543210   \\u{1b}[2J\n";
    assert_eq!(list(None), table);
    assert_eq!(list(Some("table")), table);
    assert_eq!(
        list(Some("table {{.Names | upper}}\\t{{.Label \"tier\"}}"))
            .lines()
            .next(),
        Some("NAMES       tier")
    );
    assert_eq!(
        list(Some("{{.ID}}={{.Label \"tier\"}}")),
        "0123456789ab=front\nba9876543210=\n"
    );
    assert_eq!(
        list(Some("json")).lines().next(),
        Some(r#"{"ID":"0123456789ab","Names":"web"}"#)
    );
    let error = ListFormat::parse(Some("{{.ID"), "", &TITLES).unwrap_err();
    assert_eq!(error.problem, TemplateProblem::UnclosedAction);
}
