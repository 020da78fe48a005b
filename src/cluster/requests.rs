//! Counts what is asked of the API server, by its answers.

use crate::telemetry::ControlMetrics;
use futures::future::BoxFuture;
use hyper::{Request, Response};
use kube::client::Body;
use std::task::{Context, Poll};
use tower::{Layer, Service};

/// Counts the requests of a client.
#[derive(Clone)]
pub struct Counting(pub ControlMetrics);

/// A client's way to the API server, with a count.
#[derive(Clone)]
pub struct Counted<S> {
    inner: S,
    metrics: ControlMetrics,
}

impl<S> Layer<S> for Counting {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted { inner, metrics: self.0.clone() }
    }
}

impl<S, B> Service<Request<Body>> for Counted<S>
where
    S: Service<Request<Body>, Response = Response<B>, Future: Send + 'static>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (method, metrics) = (request.method().clone(), self.metrics.clone());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let status = answer.as_ref().ok().map(|answer| answer.status().as_u16());
            metrics.requested(method.as_str(), status);
            answer
        })
    }
}
