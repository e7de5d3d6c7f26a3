//! Connections to one node or to a cluster.

use std::collections::HashMap;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo};
use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue as _, RedisError, TlsCertificates, Value};
use tokio::time::timeout;

use super::{REDIS_WAITING, RedisSettings};

/// How often the client of a cluster follows a slot that moves, in one check.
const REDIRECTIONS: u32 = 3;

/// Whom to connect to.
pub(super) enum Target {
    /// One node.
    Node(Client, AsyncConnectionConfig),
    /// A cluster, and how long it may take to find its nodes.
    Cluster(ClusterClient, Duration),
}

impl Target {
    /// Checks what can be checked without a connection.
    pub(super) fn new(settings: &RedisSettings) -> Result<Self, RedisError> {
        let certificates = settings
            .authorities
            .as_ref()
            .map(|pem| TlsCertificates { client_tls: None, root_cert: Some(pem.clone().into_bytes()) });
        let mut nodes = settings.nodes.iter().map(|url| url.0.clone());
        if settings.cluster {
            let mut builder = ClusterClient::builder(nodes)
                .retries(REDIRECTIONS)
                .connection_timeout(settings.connect_within)
                .response_timeout(settings.answer_within);
            if let Some(certificates) = certificates {
                builder = builder.certs(certificates);
            }
            return Ok(Self::Cluster(builder.build()?, settings.connect_within));
        }
        let node = nodes.next().ok_or((redis::ErrorKind::InvalidClientConfig, "no node"))?;
        let client = match certificates {
            Some(certificates) => Client::build_with_tls(node, certificates)?,
            None => Client::open(node)?,
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(settings.connect_within))
            .set_response_timeout(Some(settings.answer_within))
            .set_pipeline_buffer_size(REDIS_WAITING);
        Ok(Self::Node(client, config))
    }

    /// Connects.
    pub(super) async fn connect(&self) -> Result<Connection, RedisError> {
        match self {
            Self::Node(client, config) => {
                client.get_multiplexed_async_connection_with_config(config).await.map(Connection::Node)
            }
            Self::Cluster(client, within) => match timeout(*within, client.get_async_connection()).await {
                Ok(connection) => connection.map(Connection::Cluster),
                Err(_) => Err((redis::ErrorKind::Io, "no cluster was found in time").into()),
            },
        }
    }
}

/// A connection that all checks share.
#[derive(Clone)]
pub(super) enum Connection {
    /// To one node.
    Node(MultiplexedConnection),
    /// To every node of a cluster.
    Cluster(ClusterConnection),
}

impl Connection {
    /// Sends a command to whom its key belongs.
    pub(super) async fn ask(&mut self, command: &Cmd) -> Result<Value, RedisError> {
        match self {
            Self::Node(connection) => command.query_async(connection).await,
            Self::Cluster(connection) => command.query_async(connection).await,
        }
    }

    /// What each node that takes writes says about itself.
    pub(super) async fn reports(&mut self) -> Result<Vec<String>, RedisError> {
        let mut info = redis::cmd("INFO");
        info.arg("all");
        match self {
            Self::Node(connection) => Ok(vec![info.query_async(connection).await?]),
            Self::Cluster(connection) => {
                let everyone = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
                let answers = connection.route_command(info, everyone).await?;
                Ok(HashMap::<String, String>::from_redis_value(answers)?.into_values().collect())
            }
        }
    }
}
