//! The rules of a claim's status: its allocation, its consumers and what drivers report about its devices.

use super::super::super::conditions;
use super::super::super::persistent_volume::driver_name;
use super::super::super::pod_template;
use super::super::super::rules::{Check, Rule, Site, apply};
use super::super::device_id;
use super::{
    CONFIGS_MAX, OPAQUE, binding_conditions, is_bounded, json_object, label, pool_name, request_reference,
    request_references, text_of, unique,
};
use serde_json::Value;
use shim_model::access;
use shim_model::field::FieldError;

/// Bounds of lists, and of texts and data in bytes.
const CONSUMERS_MAX: usize = 256;
const RESULTS_MAX: usize = 32;
const CONDITIONS_MAX: usize = 8;
const DATA_MAX: usize = 10 * 1024;
const INTERFACE_NAME_MAX: usize = 256;
const HARDWARE_ADDRESS_MAX: usize = 128;
const ADDRESSES_MAX: usize = 16;

const CONSUMER: &[Rule] = &[
    Rule::Field("resource", &[Check::Required]),
    Rule::Field("name", &[Check::Required]),
    Rule::Field("uid", &[Check::Required]),
];

/// The errors of an update of a claim's status.
pub(in super::super::super) fn claim_status(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let root = Site::root(new);
    let status = root.at("status");
    let (consumers, devices, allocation) =
        (status.at("reservedFor"), status.at("devices"), status.at("allocation"));
    if is_bounded(&consumers, CONSUMERS_MAX, &mut errors) {
        consumers.items().for_each(|consumer| apply(CONSUMER, &consumer, &mut errors));
        unique(&consumers, |consumer| consumer.at("uid").text().into(), &mut errors);
    }
    let allocated: Vec<[&str; 4]> =
        access::list(allocation.value, &["devices", "results"]).iter().map(device_id).collect();
    devices.items().for_each(|device| device_status(&device, &allocated, &mut errors));
    unique(&devices, |device| shown_id(device.value).into(), &mut errors);
    reserved(new, old, &consumers, &mut errors);
    let before = access::get(old, &["status", "allocation"]);
    match (before, allocation.is_set()) {
        (_, false) => {}
        (Some(before), true) if before == allocation.value => {}
        (Some(_), true) => errors.push(allocation.invalid("field is immutable")),
        (None, true) => allocation_result(&allocation, &new["spec"]["devices"], &mut errors),
    }
    errors
}

fn reserved(new: &Value, old: &Value, consumers: &Site<'_>, errors: &mut Vec<FieldError>) {
    if consumers.len() == 0 {
        return;
    }
    if access::get(new, &["status", "allocation"]).is_none() {
        let why = "may not be specified when `allocated` is not set";
        return errors.push(consumers.forbidden(why));
    }
    let before = access::list(old, &["status", "reservedFor"]);
    let is_deleted = access::get(new, &["metadata", "deletionTimestamp"]).is_some();
    if is_deleted && consumers.items().any(|consumer| !before.contains(consumer.value)) {
        let why = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
        errors.push(consumers.forbidden(why));
    }
}

/// Driver, pool, device and share as upstream prints them.
fn shown_id(device: &Value) -> String {
    let [driver, pool, name, share] = device_id(device);
    match share {
        "" => format!("{driver}/{pool}/{name}"),
        share => format!("{driver}/{pool}/{name}/{share}"),
    }
}

fn device_status(device: &Site<'_>, allocated: &[[&str; 4]], errors: &mut Vec<FieldError>) {
    driver_name(&device.at("driver"), errors);
    pool_name(&device.at("pool"), errors);
    label(&device.at("device"), errors);
    share(&device.at("shareID"), errors);
    if !allocated.contains(&device_id(device.value)) {
        let why = "must be an allocated device in the claim";
        errors.push(FieldError::invalid(device, shown_id(device.value), why));
    }
    let list = device.at("conditions");
    is_bounded(&list, CONDITIONS_MAX, errors);
    conditions::validate(&list, errors);
    let data = device.at("data");
    if data.is_set() {
        json_object(&data, DATA_MAX, errors);
    }
    let network = device.at("networkData");
    for (member, most) in [("interfaceName", INTERFACE_NAME_MAX), ("hardwareAddress", HARDWARE_ADDRESS_MAX)] {
        if network.at(member).text().len() > most {
            errors.push(FieldError::too_long(network.at(member), most));
        }
    }
    let addresses = network.at("ips");
    if is_bounded(&addresses, ADDRESSES_MAX, errors) {
        for address in addresses.items() {
            errors.extend(interface_address(address.text()).map(|why| address.invalid(why)));
        }
        unique(&addresses, text_of, errors);
    }
}

/// Why a text is not an address with the length of its network.
fn interface_address(text: &str) -> Option<String> {
    let parsed = text.split_once('/').and_then(|(address, length)| {
        let address: std::net::IpAddr = address.parse().ok()?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let length: u8 = length.parse().ok().filter(|length| *length <= bits)?;
        Some(format!("{address}/{length}"))
    });
    match parsed {
        None => Some("must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)".to_owned()),
        Some(canonical) if canonical != text => Some(format!("must be in canonical form (\"{canonical}\")")),
        Some(_) => None,
    }
}

fn share(id: &Site<'_>, errors: &mut Vec<FieldError>) {
    let text = id.text();
    let is_uuid = |text: &str| {
        let dash = |at: usize| matches!(at, 8 | 13 | 18 | 23);
        text.len() == 36
            && text
                .bytes()
                .enumerate()
                .all(|(at, b)| if dash(at) { b == b'-' } else { b.is_ascii_hexdigit() })
    };
    if !id.is_set() {
        return;
    }
    if !is_uuid(text) {
        let why = match text.len() {
            32 | 36 | 38 | 45 => "invalid UUID format".to_owned(),
            other => format!("invalid UUID length: {other}"),
        };
        errors.push(FieldError::invalid(id, text, format!("error validating uid: {why}")));
    } else if text.bytes().any(|b| b.is_ascii_uppercase()) {
        let why = "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters";
        errors.push(FieldError::invalid(id, text, why));
    }
}

fn allocation_result(allocation: &Site<'_>, claim: &Value, errors: &mut Vec<FieldError>) {
    let devices = allocation.at("devices");
    let results = devices.at("results");
    if is_bounded(&results, RESULTS_MAX, errors) {
        results.items().for_each(|result| allocated_device(&result, claim, errors));
    }
    let config = devices.at("config");
    // Those of the class and those of the claim.
    if is_bounded(&config, 2 * CONFIGS_MAX, errors) {
        config.items().for_each(|config| allocated_config(&config, claim, errors));
    }
    let selector = allocation.at("nodeSelector");
    if selector.is_set() {
        pod_template::validate_node_selector(selector.value, format_args!("{selector}"), errors);
    }
}

fn allocated_device(result: &Site<'_>, claim: &Value, errors: &mut Vec<FieldError>) {
    request_reference(&result.at("request"), claim, errors);
    driver_name(&result.at("driver"), errors);
    pool_name(&result.at("pool"), errors);
    label(&result.at("device"), errors);
    binding_conditions(result, errors);
    share(&result.at("shareID"), errors);
}

fn allocated_config(config: &Site<'_>, claim: &Value, errors: &mut Vec<FieldError>) {
    const SOURCES: [&str; 2] = ["FromClaim", "FromClass"];
    let source = config.at("source");
    match source.text() {
        "" => errors.push(source.required("")),
        known if SOURCES.contains(&known) => {}
        _ => errors.push(source.not_supported(&SOURCES)),
    }
    request_references(&config.at("requests"), claim, errors);
    apply(OPAQUE, config, errors);
}
