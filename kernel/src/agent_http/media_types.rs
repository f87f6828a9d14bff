//! The content types of the agent's operator API. It has streaming calls and responses besides the plain ones, so its rules
//! and texts are not those of the other APIs.

use hyper::{
    HeaderMap, StatusCode,
    header::{self, HeaderName},
};
use kernel_wire::{
    codec::{ContentType, DecodeError, decode},
    v1::agent::{Call, call::Type},
};

use crate::http::{
    Answer,
    negotiate::{self, accepts, header_allows, text, with_header},
};

const RECORDIO: &str = "application/recordio";

const MESSAGE_CONTENT_TYPE: HeaderName = HeaderName::from_static("message-content-type");

const MESSAGE_ACCEPT: HeaderName = HeaderName::from_static("message-accept");

/// The form of a body: one message, or a stream of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Message(ContentType),
    /// RecordIO, and the type of each record.
    Stream(ContentType),
}

/// The forms of a request and of its response.
#[derive(Debug, Clone, Copy)]
pub(super) struct MediaTypes {
    content: Form,
    accept: Form,
}

impl MediaTypes {
    /// Negotiates, in Mesos' order.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Answer> {
        Ok(Self { content: content_form(headers)?, accept: accepted_form(headers)? })
    }

    /// Whether the body is a stream of calls.
    pub(super) fn is_stream(&self) -> bool {
        matches!(self.content, Form::Stream(_))
    }

    /// The call in a body that is one, or in a record of a body that is a stream.
    pub(super) fn call(&self, message: &bytes::Bytes) -> Result<Call, Answer> {
        let (Form::Message(content) | Form::Stream(content)) = self.content;
        decode(content, message).map_err(|error| {
            let why = match error {
                DecodeError::Protobuf(_) => "Failed to parse body into a protobuf object".to_owned(),
                DecodeError::Json(_) => error.to_string(),
                DecodeError::Convert(_, why) => why.to_string(),
            };
            text(StatusCode::BAD_REQUEST, why)
        })
    }

    /// Adds the headers of a stream of records to a response.
    pub(super) fn streaming(&self, response: Answer, content: ContentType) -> Answer {
        match self.accept {
            Form::Message(_) => with_header(response, header::CONTENT_TYPE, content.as_str()),
            Form::Stream(_) => {
                let response = with_header(response, header::CONTENT_TYPE, RECORDIO);
                with_header(response, MESSAGE_CONTENT_TYPE, content.as_str())
            }
        }
    }

    /// The content type of the response to a call of this type, which must allow the negotiated forms.
    pub(super) fn response(&self, kind: Type) -> Result<ContentType, Answer> {
        let name = kind.as_str_name();
        let unsupported = |why: String| Err(text(StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
        match (self.content, kind) {
            (Form::Stream(_), Type::AttachContainerInput) => {}
            (Form::Stream(_), _) => {
                return unsupported(format!(
                    "Streaming 'Content-Type' {RECORDIO} is not supported for {name} call"
                ));
            }
            (Form::Message(_), Type::AttachContainerInput) => {
                return unsupported(format!("Expecting 'Content-Type' to be {RECORDIO} for {name} call"));
            }
            (Form::Message(_), _) => {}
        }
        match (self.accept, kind) {
            (Form::Message(content), _)
            | (Form::Stream(content), Type::AttachContainerOutput | Type::LaunchNestedContainerSession) => {
                Ok(content)
            }
            (Form::Stream(_), _) => Err(text(
                StatusCode::NOT_ACCEPTABLE,
                format!("Streaming response is not supported for {name} call"),
            )),
        }
    }
}

fn message_type(name: &[u8]) -> Option<ContentType> {
    [ContentType::Json, ContentType::Protobuf].into_iter().find(|c| name == c.as_str().as_bytes())
}

fn content_form(headers: &HeaderMap) -> Result<Form, Answer> {
    let unsupported = |why: &str| text(StatusCode::UNSUPPORTED_MEDIA_TYPE, why);
    let Some(content) = headers.get(header::CONTENT_TYPE) else {
        return Err(negotiate::content_type_missing());
    };
    let of_records = headers.get(MESSAGE_CONTENT_TYPE).map(|value| value.as_bytes());
    if content == RECORDIO {
        let Some(of_records) = of_records else {
            return Err(text(
                StatusCode::BAD_REQUEST,
                "Expecting 'Message-Content-Type' to be set for streaming requests",
            ));
        };
        return message_type(of_records).map(Form::Stream).ok_or_else(|| {
            unsupported("Expecting 'Message-Content-Type' of application/json or application/x-protobuf")
        });
    }
    let form = message_type(content.as_bytes()).map(Form::Message).ok_or_else(|| {
        unsupported(
            "Expecting 'Content-Type' of application/json or application/x-protobuf or application/recordio",
        )
    })?;
    match of_records {
        None => Ok(form),
        Some(_) => {
            Err(unsupported("Expecting 'Message-Content-Type' to be not set for non-streaming requests"))
        }
    }
}

fn accepted_form(headers: &HeaderMap) -> Result<Form, Answer> {
    let refuse = |why: &str| text(StatusCode::NOT_ACCEPTABLE, why);
    let messages = [ContentType::Json, ContentType::Protobuf];
    if let Some(content) = messages.into_iter().find(|content| accepts(headers, content.as_str())) {
        return match headers.contains_key(MESSAGE_ACCEPT) {
            false => Ok(Form::Message(content)),
            true => Err(refuse("Expecting 'Message-Accept' to be not set for non-streaming responses")),
        };
    }
    if !accepts(headers, RECORDIO) {
        return Err(refuse(
            "Expecting 'Accept' to allow application/json or application/x-protobuf or application/recordio",
        ));
    }
    let of_records =
        messages.into_iter().find(|content| header_allows(headers, &MESSAGE_ACCEPT, content.as_str()));
    of_records.map(Form::Stream).ok_or_else(|| {
        refuse("Expecting 'Message-Accept' to allow application/json or application/x-protobuf")
    })
}
