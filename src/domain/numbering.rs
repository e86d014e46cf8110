//! Numbering plans in which one subscriber can be written in two ways.
//!
//! Equality of phone numbers decides who is logged in, so a plan is listed only if no two subscribers have numbers that
//! differ only by the optional digits. The long tests check the table against libphonenumber's metadata.

use super::country;

/// Digits of a plan that are optional before the subscriber number.
struct NumberingPlan {
    country: &'static str,
    /// Number of area code digits, which come before the optional digits.
    area: usize,
    optional: &'static str,
    /// Number of digits after the optional ones.
    rest: usize,
    /// Allowed first digits of the part after the optional digits.
    leading: &'static str,
    current: CurrentForm,
}

/// How such a number is written in the current plan.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CurrentForm {
    With,
    Without,
    /// Both forms exist: the digits distinguish types of lines.
    Either,
}

const PLANS: &[NumberingPlan] = &[
    // Brazil added a 9 before eight-digit mobile numbers (Anatel, Resolução 553/2010; complete since 2016). These began
    // with 6 to 9. Fixed lines begin with 2 to 5, and some trunked radio services keep eight digits that begin with 7.
    // A number that begins with 9 and another digit is a current mobile number.
    NumberingPlan { country: "55", area: 2, optional: "9", rest: 8, leading: "689", current: CurrentForm::With },
    // Benin added 01 before every number on 30 November 2024 (ARCEP, itu.int/oth/T0202000017/en).
    NumberingPlan { country: "229", area: 0, optional: "01", rest: 8, leading: "24569", current: CurrentForm::With },
    // Mexico removed the 1 of mobile numbers on 3 August 2019 (IFT, Plan Técnico Fundamental de Numeración). All
    // numbers have ten digits and none begins with 1. WhatsApp still writes the 1.
    NumberingPlan {
        country: "52",
        area: 0,
        optional: "1",
        rest: 10,
        leading: "23456789",
        current: CurrentForm::Without,
    },
    // Argentina's numbers have ten digits; fixed and mobile lines share one number space (Secretaría de Comunicaciones,
    // Resolución 46/97), and the 9 used in calls from abroad only marks a mobile plan. The maintainers of
    // libphonenumber also found that no number is assigned twice (github.com/google/libphonenumber/pull/1719).
    NumberingPlan { country: "54", area: 0, optional: "9", rest: 10, leading: "123", current: CurrentForm::Either },
];

/// A number that matches an entry, split at the optional digits.
struct Split<'a> {
    plan: &'static NumberingPlan,
    head: &'a str,
    rest: &'a str,
    with: bool,
}

impl Split<'_> {
    fn spelled(&self, with: bool) -> String {
        format!("{}{}{}", self.head, if with { self.plan.optional } else { "" }, self.rest)
    }
}

fn split(digits: &str) -> Option<Split<'_>> {
    PLANS.iter().find_map(|plan| {
        let (head, tail) = digits.split_at_checked(plan.country.len() + plan.area)?;
        let shortened = tail.strip_prefix(plan.optional).filter(|rest| rest.len() == plan.rest);
        let with = shortened.is_some();
        let rest = shortened.or(Some(tail).filter(|rest| rest.len() == plan.rest))?;
        let fits = head.starts_with(plan.country) && rest.starts_with(|first| plan.leading.contains(first));
        fits.then_some(Split { plan, head, rest, with })
    })
}

/// The form shared by all spellings of one subscriber. Not a number to dial.
pub(super) fn canonical(digits: &str) -> String {
    split(digits).map_or_else(|| digits.to_owned(), |split| split.spelled(false))
}

/// The number as the current plan writes it.
pub(super) fn current(digits: &str) -> String {
    split(digits).map_or_else(
        || digits.to_owned(),
        |split| {
            split.spelled(match split.plan.current {
                CurrentForm::With => true,
                CurrentForm::Without => false,
                CurrentForm::Either => split.with,
            })
        },
    )
}

/// All spellings of the subscriber's number, without duplicates.
pub(super) fn spellings(digits: &str) -> Vec<String> {
    split(digits).map_or_else(|| vec![digits.to_owned()], |split| [false, true].map(|with| split.spelled(with)).into())
}

/// Countries whose subscriber numbers can begin with 0, according to libphonenumber's metadata.
const ZERO_FIRST: &[&str] = &["39", "225", "226", "229", "241", "242", "250", "378", "992"];

/// Whether the country code is followed by a 0 that is dialled only within the country.
pub(super) fn has_trunk_zero(digits: &str) -> bool {
    let code = country::calling_code(digits);
    digits[code.len()..].starts_with('0') && !ZERO_FIRST.contains(&code)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_subscriber_has_one_current_form() {
        for (spelling, current_form) in [
            ("551187654321", "5511987654321"),
            ("5511987654321", "5511987654321"),
            ("22961123456", "2290161123456"),
            ("2290161123456", "2290161123456"),
            ("5215512345678", "525512345678"),
            ("5491123456789", "5491123456789"),
            ("541123456789", "541123456789"),
            ("447700900123", "447700900123"),
        ] {
            assert_eq!(current(spelling), current_form, "{spelling}");
            assert!(spellings(spelling).contains(&current_form.to_owned()));
        }
    }

    #[test]
    fn only_the_zero_of_national_dialling_is_a_trunk_zero() {
        for digits in ["4407700900123", "353087123456", "491512345678".replacen("49", "490", 1).as_str()] {
            assert!(has_trunk_zero(digits), "{digits}");
        }
        for digits in ["447700900123", "390612345678", "2290161123456", "2250712345678", "12025550142"] {
            assert!(!has_trunk_zero(digits), "{digits}");
        }
    }

    proptest! {
        #[test]
        fn the_forms_agree(country in prop::sample::select(vec!["", "55", "229", "52", "54", "9"]), rest in "[0-9]{5,12}") {
            let digits = format!("{country}{rest}");
            let (key, current_form) = (canonical(&digits), current(&digits));
            for spelling in spellings(&digits).iter().chain([&digits, &current_form]) {
                prop_assert_eq!(&canonical(spelling), &key);
            }
            prop_assert_eq!(current(&current_form), current_form);
            prop_assert!(spellings(&digits).contains(&digits));
        }

        /// No difference other than the optional digits is ignored.
        #[test]
        fn what_differs_elsewhere_is_somebody_else(
            country in prop::sample::select(vec!["55", "229", "52", "54"]), rest in "[0-9]{6,11}",
            at in 0..11_usize, digit in 0..10_u8,
        ) {
            let one = format!("{country}{rest}");
            let mut other = one.clone().into_bytes();
            let at = country.len() + at.min(rest.len() - 1);
            other[at] = b'0' + digit;
            let other = String::from_utf8(other).unwrap();
            prop_assert_eq!(canonical(&one) == canonical(&other), one == other);
        }
    }
}
