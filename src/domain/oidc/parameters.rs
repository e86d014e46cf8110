//! The parameters of a request, as RFC 6749, 3.1 and 3.2 read them.

use super::{ErrorCode, ProtocolError};

/// Parameters of a query string or a form, in their order.
#[derive(Clone, Default, Debug)]
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// The parameter's value. An empty one counts as absent.
    ///
    /// # Errors
    /// `invalid_request` if it occurs twice.
    pub fn get(&self, name: &str) -> Result<Option<&str>, ProtocolError> {
        let mut values = self.0.iter().filter(|(own, _)| own == name).map(|(_, value)| value.as_str());
        let first = values.next();
        match values.next() {
            None => Ok(first.filter(|value| !value.is_empty())),
            Some(_) => Err(ProtocolError::new(ErrorCode::InvalidRequest, "a parameter occurs twice")),
        }
    }

    /// As [`Parameters::get`], for a parameter that only advises: one that occurs twice is ignored.
    pub fn advice(&self, name: &str) -> Option<&str> {
        self.get(name).ok().flatten()
    }
}

impl FromIterator<(String, String)> for Parameters {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(pairs: T) -> Self {
        Self(pairs.into_iter().collect())
    }
}
