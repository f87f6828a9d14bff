//! Changes by operators: reads the body of the request, carries the call out and answers.

use hyper::{Method, Request, StatusCode, body::Incoming};
use kernel_core::master::{self, OperatorCall};

use super::{
    Answer, Handlers,
    negotiate::{self, text},
    query::Query,
};

/// Carries a call out. The answer is 200, or 202 where the change is finished later.
pub(super) async fn carry_out(handlers: &Handlers, call: OperatorCall) -> Answer {
    match handlers.queue.operator(call).await {
        Ok(master::Answer::Accepted) => text(StatusCode::ACCEPTED, ""),
        Ok(_) => text(StatusCode::OK, ""),
        Err(call_error) => negotiate::call_error(call_error),
    }
}

/// Carries out the call that `parse` finds in the body. Its error is the text of a 400.
pub(super) async fn from_body(
    handlers: &Handlers,
    request: Request<Incoming>,
    parse: impl FnOnce(&[u8]) -> Result<OperatorCall, String>,
) -> Answer {
    let (head, body) = request.into_parts();
    let (body, _lease) = match negotiate::read_leased(&head, body).await {
        Ok(read) => read,
        Err(answer) => return answer,
    };
    match parse(&body) {
        Ok(call) => carry_out(handlers, call).await,
        Err(why) => text(StatusCode::BAD_REQUEST, why),
    }
}

/// Carries out the call that `parse` finds in the form of a POST. Its error is the text of a 400.
pub(super) async fn from_form(
    handlers: &Handlers,
    request: Request<Incoming>,
    parse: impl FnOnce(&Query) -> Result<OperatorCall, String>,
) -> Answer {
    if request.method() != Method::POST {
        return negotiate::wrong_method(request.method(), &["POST"]);
    }
    from_body(handlers, request, |body| {
        let form = Query::parse(&String::from_utf8_lossy(body)).map_err(|why| undecodable(&why))?;
        parse(&form)
    })
    .await
}

/// The parameter of a form, or Mesos' text.
pub(super) fn required<'a>(form: &'a Query, name: &str) -> Result<&'a str, String> {
    form.get(name).ok_or_else(|| format!("Missing '{name}' query parameter in the request body"))
}

/// Mesos' text for a query or form that is not URL-encoded.
pub(super) fn undecodable(why: &str) -> String {
    format!("Unable to decode query string: {why}")
}
