//! `micro stream`: a streaming call, its requests and answers as JSON.

use clap::Args;

use super::{
    call::{Prepared, Request, arrived},
    context::Context,
};

/// Open a stream to an endpoint and print each answer on a line.
///
/// Without a request, requests are read from standard input, one JSON document a line. For
/// example: micro stream helloworld Helloworld.Stream '{"count": 3}'
#[derive(Args)]
pub(super) struct Stream {
    #[command(flatten)]
    request: Request,
}

impl Stream {
    pub(super) async fn run(self, cx: &Context) -> anyhow::Result<()> {
        let service = self.request.service.clone();
        let Prepared { call, request, connection } = self.request.prepare(cx).await?;
        if let Some(connection) = &connection {
            arrived(cx, connection, &service).await?;
        }
        let stdin = request.is_none();
        call.stream(request.into_iter().collect(), stdin, cx).await
    }
}
