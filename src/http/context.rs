//! The context of a request, from the middleware that begins it to the handlers.

use std::sync::Arc;

use actix_web::{HttpMessage as _, dev::ServiceRequest, web::ReqData};

use crate::service::RequestContext;

/// As it is kept with a request.
pub(super) type Context = Arc<RequestContext>;

/// As handlers ask for it.
pub(super) type Cx = ReqData<Context>;

/// Lets handlers have `context`.
pub(super) fn give(request: &ServiceRequest, context: RequestContext) -> Context {
    let context = Arc::new(context);
    request.extensions_mut().insert(Arc::clone(&context));
    context
}
