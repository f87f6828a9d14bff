//! Java values: messages as bytes, collections, the status.

use bytes::Bytes;
use jni::{
    Env, JValue, jni_sig, jni_str,
    objects::{IntoAuto, JByteArray, JClass, JObject, JObjectArray, JString},
    refs::Global,
    signature::MethodSignature,
    strings::JNIStr,
};
use libmesos_core::machine::Status;

type Result<T> = jni::errors::Result<T>;

/// A generated message class with its static method `parseFrom`.
pub(super) struct MessageClass {
    class: Global<JClass<'static>>,
    parse_from: MethodSignature<'static, 'static>,
}

impl MessageClass {
    pub(super) fn new(class: Global<JClass<'static>>, parse_from: MethodSignature<'static, 'static>) -> Self {
        MessageClass { class, parse_from }
    }

    /// The message with these bytes.
    pub(super) fn parse<'local>(&self, env: &mut Env<'local>, bytes: &[u8]) -> Result<JObject<'local>> {
        let array = env.byte_array_from_slice(bytes)?.auto();
        let arguments = [JValue::Object(&array)];
        env.call_static_method(&self.class, jni_str!("parseFrom"), &self.parse_from, &arguments)?.l()
    }
}

/// Finds a message class; to be called within a native method, that is, with the loader of the Java library.
macro_rules! message_class {
    ($env:expr, $name:literal, $signature:literal) => {{
        let class = jni::objects::IntoAuto::auto($env.find_class(jni::jni_str!($name))?);
        $crate::natives::java::MessageClass::new($env.new_global_ref(&*class)?, jni::jni_sig!($signature))
    }};
}
pub(super) use message_class;

/// `org.apache.mesos.Protos.Status`.
pub(super) struct StatusClass(Global<JClass<'static>>);

impl StatusClass {
    /// To be called within a native method of the driver.
    pub(super) fn find(env: &mut Env<'_>) -> Result<Self> {
        let class = env.find_class(jni_str!("org/apache/mesos/Protos$Status"))?.auto();
        Ok(StatusClass(env.new_global_ref(&*class)?))
    }

    /// The Java constant of a status.
    pub(super) fn constant<'local>(&self, env: &mut Env<'local>, status: Status) -> Result<JObject<'local>> {
        let name: &JNIStr = match status {
            Status::NotStarted => jni_str!("DRIVER_NOT_STARTED"),
            Status::Running => jni_str!("DRIVER_RUNNING"),
            Status::Aborted => jni_str!("DRIVER_ABORTED"),
            Status::Stopped => jni_str!("DRIVER_STOPPED"),
        };
        env.get_static_field(&self.0, name, jni_sig!("Lorg/apache/mesos/Protos$Status;"))?.l()
    }
}

/// The bytes of a message.
pub(super) fn message(env: &mut Env<'_>, message: &JObject<'_>) -> Result<Bytes> {
    let array = env.call_method(message, jni_str!("toByteArray"), jni_sig!("()[B"), &[])?.l()?;
    let array = JByteArray::cast_local(env, array)?.auto();
    Ok(env.convert_byte_array(&*array)?.into())
}

/// The bytes of a message that may be `null`.
pub(super) fn optional_message(env: &mut Env<'_>, object: &JObject<'_>) -> Result<Option<Bytes>> {
    if object.is_null() { Ok(None) } else { message(env, object).map(Some) }
}

/// The elements of a `java.util.Collection`, each read by a function.
fn elements<T>(
    env: &mut Env<'_>,
    collection: &JObject<'_>,
    mut read: impl FnMut(&mut Env<'_>, &JObject<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    let array =
        env.call_method(collection, jni_str!("toArray"), jni_sig!("()[Ljava/lang/Object;"), &[])?.l()?;
    let array = JObjectArray::<JObject>::cast_local(env, array)?.auto();
    let length = array.len(env)?;
    let mut elements = Vec::with_capacity(length);
    for index in 0..length {
        // Collections have any size, local references do not.
        let element = array.get_element(env, index)?.auto();
        elements.push(read(env, &element)?);
    }
    Ok(elements)
}

/// The bytes of a collection's messages.
pub(super) fn messages(env: &mut Env<'_>, collection: &JObject<'_>) -> Result<Vec<Bytes>> {
    elements(env, collection, message)
}

/// A collection of strings.
pub(super) fn strings(env: &mut Env<'_>, collection: &JObject<'_>) -> Result<Vec<String>> {
    elements(env, collection, |env, element| {
        let string = env.new_local_ref(element)?;
        let string = JString::cast_local(env, string)?.auto();
        string.try_to_string(env)
    })
}

/// A string field.
pub(super) fn string_field(env: &mut Env<'_>, object: &JObject<'_>, name: &JNIStr) -> Result<String> {
    let value = env.get_field(object, name, jni_sig!("Ljava/lang/String;"))?.l()?;
    let value = JString::cast_local(env, value)?.auto();
    value.try_to_string(env)
}
