//! Amounts of a quota as resource lists of objects, and as quantities of the kernel.

use kernel_model::{quota::Quantities, resources::Scalar};
use serde_json::Value;
use shim_model::quantity::Quantity;

use crate::kernel_resources::{api_name, bytes, kernel_name, mebibytes};
use crate::resource_list::ResourceList;

/// An amount that the kernel cannot have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAmount {
    /// Not a quantity.
    #[error("spec.{field}[{name}]: {value} is not a quantity")]
    NotAQuantity {
        /// `guarantee` or `limit`.
        field: &'static str,
        /// The resource.
        name: String,
        /// What it is.
        value: Value,
    },
    /// Less than nothing.
    #[error("spec.{field}[{name}]: must not be negative")]
    Negative {
        /// `guarantee` or `limit`.
        field: &'static str,
        /// The resource.
        name: String,
    },
}

/// The kernel's amounts of a resource list, which may be absent.
pub fn parse(field: &'static str, list: &Value) -> Result<Quantities, InvalidAmount> {
    let members = list.as_object().into_iter().flatten();
    let list = ResourceList::decode(Some(list));
    let amount = |(name, value): (&String, &Value)| {
        let wrong = || InvalidAmount::NotAQuantity { field, name: name.clone(), value: value.clone() };
        let amount = list.get(name).ok_or_else(wrong)?;
        if amount.sign() < 0 {
            return Err(InvalidAmount::Negative { field, name: name.clone() });
        }
        Ok((kernel_name(name).to_owned(), to_scalar(name, amount)))
    };
    members.map(amount).collect::<Result<Vec<_>, _>>().map(Quantities::from_iter)
}

/// The resource list of amounts.
pub fn to_value(amounts: &Quantities) -> Value {
    let mut list = ResourceList::default();
    amounts.iter().for_each(|(name, amount)| list.set(api_name(name), to_quantity(name, amount)));
    list.to_value()
}

/// A number without a fraction is written without one.
pub fn number(number: f64) -> Value {
    let whole = number as i64;
    if whole as f64 == number { whole.into() } else { number.into() }
}

fn is_in_bytes(kernel_name: &str) -> bool {
    matches!(kernel_name, "mem" | "disk")
}

fn to_scalar(name: &str, amount: Quantity) -> Scalar {
    match is_in_bytes(kernel_name(name)) {
        true => mebibytes(amount.units()),
        false => Scalar(amount.milli()),
    }
}

fn to_quantity(kernel_name: &str, amount: Scalar) -> Quantity {
    match is_in_bytes(kernel_name) {
        true => Quantity::from_bytes(bytes(amount)),
        false => Quantity::from_milli(amount.0),
    }
}
