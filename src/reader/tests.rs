//! Values in each format, and the faults of values that do not fit.

use serde_json::json;

use super::*;

fn messages(faults: &Faults) -> Vec<String> {
    faults.iter().map(|fault| format!("{}: {}", fault.key, fault.problem)).collect()
}

fn read<T>(format: Format, value: &Value, read: impl FnOnce(&mut Reader<'_>) -> Option<T>) -> Result<T, Vec<String>> {
    let mut reader = Reader::new(format, "", value.as_object().unwrap());
    let value = read(&mut reader);
    reader.finish(value).map_err(|faults| messages(&faults))
}

/// A value is either given or not: no method returns nothing for an empty value that [`Reader::has`] reports.
#[test]
fn an_empty_text_is_no_value_whoever_asks() {
    let values = json!({ "x": "" });
    for format in [Format::Toml, Format::Json, Format::Form] {
        let mut f = Reader::new(format, "", values.as_object().unwrap());
        assert!(!f.has("x"));
        assert_eq!((f.text("x"), f.short_text("x", 9), f.parsed::<u8>("x", "a number")), (None, None, None));
        assert_eq!((f.number("x", 1..=2), f.json("x", 9), f.choice("x", &[("a", 1)])), (None, None, None));
        assert!(f.flag("x", true) && !f.flag("x", false));
        assert!(f.texts("x").is_empty() && f.values("x").is_empty() && f.tables("x", |_| ()).is_empty());
        assert!(f.nested("x", |f| f.text("y")).is_none());
        assert!(f.faults().is_empty(), "{format:?}: {:?}", messages(f.faults()));
        assert_eq!(f.required_text("x", "a name"), None);
        assert_eq!(f.setting("x", 3..=4), 3);
        assert_eq!(messages(&f.into_faults()), ["x: is missing: a name", "x: expected a whole number from 3 to 4"]);
    }
}

#[test]
fn an_empty_filter_of_a_query_does_not_mean_everything() {
    let values = json!({ "x": "" });
    let mut f = Reader::new(Format::Query, "", values.as_object().unwrap());
    assert!(f.has("x"));
    assert_eq!((f.text("x").as_deref(), f.number("x", 1..=2), f.choice("x", &[("a", 1)])), (Some(""), None, None));
    assert_eq!(f.faults().iter().count(), 2);
}

#[test]
fn nothing_disappears_without_a_fault() {
    assert_eq!(read(Format::Toml, &json!({}), |_| None::<()>), Err(vec!["input: cannot be read".to_owned()]));
    let tables = json!({ "instance": [{ "id": "a" }, 7] });
    let read = read(Format::Toml, &tables, |f| Some(f.tables("instance", |f| f.text("id"))));
    assert_eq!(read, Err(vec!["instance.1: expected a table: write [[instance]]".to_owned()]));
}

#[test]
fn every_fault_is_collected_under_its_dotted_key_in_the_order_of_reading() {
    let values = json!({
        "name": ["x"], "list": ["1", "b"], "inner": { "deep": { "count": 11, "cuont": 1 }, "flag": "yes" },
        "tables": [{}, { "mode": "thrid" }], "nmae": 1,
    });
    let faults = read(Format::Toml, &values, |f| {
        f.text("name");
        f.list("list", |text| text.parse::<u8>().map_err(|_| "expected a number"));
        f.nested("inner", |f| {
            f.nested("deep", |f| f.number("count", 1..=10));
            f.flag("flag", false);
        });
        f.tables("tables", |f| f.choice("mode", &[("first", 1), ("third", 3)]));
        Some(())
    });
    let expected = [
        "name: expected a text in quotes",
        "list.1: expected a number",
        "inner.deep.count: expected a whole number from 1 to 10",
        "inner.deep.cuont: is not a key; did you mean count?",
        "inner.flag: expected true or false",
        "tables.1.mode: \"thrid\" is not one of first, third; did you mean third?",
        "nmae: is not a key; did you mean name?",
    ];
    assert_eq!(faults.unwrap_err(), expected);
}

#[test]
fn an_unknown_key_is_a_fault_of_a_file_a_warning_of_a_body_and_nothing_of_a_form() {
    let values = json!({ "nmae": "x", "inner": { "\u{202e}evil": 1 } });
    let read = |format| {
        let mut f = Reader::new(format, "", values.as_object().unwrap());
        f.text("name");
        f.nested("inner", |_| ());
        f.finish_with_warnings(Some(()))
    };
    assert_eq!(read(Format::Toml).unwrap_err().iter().count(), 2);
    let ((), warnings) = read(Format::Json).unwrap();
    let details: Vec<&str> = warnings.iter().map(|warning| warning.detail.as_str()).collect();
    assert_eq!(
        details,
        ["inner.evil is not a field and was ignored", "nmae is not a field and was ignored; did you mean name?"]
    );
    assert!(read(Format::Form).unwrap().1.is_empty());
}

#[test]
fn forms_and_bodies_write_flags_as_digits_too_and_files_do_not() {
    for (value, flag) in [(json!("1"), true), (json!(1), true), (json!("0"), false), (json!(0), false)] {
        let values = json!({ "x": value });
        for format in [Format::Json, Format::Form] {
            assert_eq!(read(format, &values, |f| Some(f.flag("x", !flag))), Ok(flag));
        }
        assert!(read(Format::Toml, &values, |f| Some(f.flag("x", !flag))).is_err());
    }
    assert!(read(Format::Json, &json!({ "x": 2 }), |f| Some(f.flag("x", true))).is_err());
}

#[test]
fn a_table_stands_over_its_defaults_key_by_key_and_shows_no_value() {
    let map = |value: Value| value.as_object().unwrap().clone();
    let table = Table::new("gateway", map(json!({ "kind": "mine", "mapping": { "text": "/mine" } })));
    let over = table.with_defaults(&map(json!({ "kind": "x", "url": "u", "mapping": { "text": "/x", "to": "/to" } })));
    let merged = json!({ "kind": "mine", "url": "u", "mapping": { "text": "/mine", "to": "/to" } });
    assert_eq!(Value::from(over.values().clone()), merged);
    assert_eq!(format!("{over:?}"), "Table(\"gateway\")");
}

#[test]
fn what_depends_on_a_faulty_value_is_checked_all_the_same() {
    let first = Checked::new(Some(1), Faults::of("a", "is wrong"));
    let both = first.and(|one| Checked::new(Some(one + 1), Faults::of("b", "is wrong, too"))).into_result();
    assert_eq!(messages(&both.unwrap_err()), ["a: is wrong", "b: is wrong, too"]);
    let sound = Checked::new(Some(1), Faults::default()).and(|one| Checked::new(Some(one + 1), Faults::default()));
    assert_eq!(sound.into_result(), Ok((1, 2)));
}
