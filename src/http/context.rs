//! Passes the context of a request from the middleware that creates it to the handlers.

use std::sync::Arc;

use actix_web::{HttpMessage as _, dev::ServiceRequest, web::ReqData};

use crate::service::RequestContext;

/// The context as stored in the request's extensions.
pub(super) type Context = Arc<RequestContext>;

/// The context as an argument of handlers.
pub(super) type Cx = ReqData<Context>;

/// Stores `context` with the request, for the handlers.
pub(super) fn attach(request: &ServiceRequest, context: RequestContext) -> Context {
    let context = Arc::new(context);
    request.extensions_mut().insert(Arc::clone(&context));
    context
}
