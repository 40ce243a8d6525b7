//! depthgauge: an external metrics API server for Kubernetes.
//!
//! It registers itself as `v1beta1.external.metrics.k8s.io`, answers with the live depth of
//! queues, and so lets a plain `autoscaling/v2` HorizontalPodAutoscaler scale a workload, to
//! zero and back.
//!
//! # The flow
//!
//! ```text
//! kube-apiserver ─TLS─▶ server ─▶ auth ─▶ api ─▶ lookup ─▶ source ─▶ oci ─▶ http ─▶ OCI Queue
//!                                          ◀── Sample ──┘ (from memory; a reader fills it)
//! ```
//!
//! One way only: server → auth → api → selector → lookup → source → oci → http; values come back as [`metric::Sample`].
//! Only [`api`] has Kubernetes' list types, only [`oci`] has OCI's JSON, only [`azure`] has Atom feeds, and only the
//! kinds in `source` use both sides. [`lookup`] names the [`source::Source`] trait and no kind of source: a new one is
//! one file in `source/` and one line in [`source::KINDS`].
//!
//! # Layout
//!
//! ```text
//! Cargo.toml    workspace: depthgauge (library + binary) and emulator; lints, profiles
//! README.md     what it is, its status, how to try and install it
//! src/          below
//! emulator/     OCI Queue over HTTP, for `emulate`, `demo` and tests: a crate of its own, with wire types of its own; never uses depthgauge
//! apiservice/   data: APIService (no caBundle: the server owns it), RBAC, kustomization;
//!               src/apiservice.rs embeds the same yaml, so manifest and registration cannot differ
//! certs/        data: issuers and trust relations; never a key
//! manifests/    data: kustomize base, overlays (demo: with an emulator), HPA examples; components: alerts and dashboard, scaling to zero, the APIService;
//!               chart: the same for Helm; config.schema.json, what `config schema` prints
//! docs/         tutorials, how-to, reference (generated where possible), explanation and contributing; tests compare it with the program;
//!               images/, made by hack/browser, with their text
//! .github/      workflows: hack/check for each change, and the release
//! hack/         scripts: check (= CI), cluster (a real control plane from Go modules), image, bench, fuzz, setup,
//!               browser (a status page in Chromium), prometheus (alerts, dashboard and /metrics), docs (the documentation as a site),
//!               words (Vale over Markdown, user-visible strings and comments; its rules are in .vale/)
//! benches/      what hack/bench scale simulates
//! tests/        one integration binary (tests/it/main.rs), golden/; prometheus/, tests of the alerts; e2e on the real control plane;
//!               external-client/, the API's official Go client, which e2e reads through; rabbitmq-client/, RabbitMQ's;
//!               servicebus-client/, that of Azure Service Bus
//! fuzz/         one target a parser of foreign input; a workspace of its own
//! ```
//!
//! ```text
//! src/
//!   main.rs            crypto provider, parse, dispatch, exit code
//!   lib.rs             this map; modules in reading order; no re-exports
//!   cli.rs             clap types: one Command variant a file
//!   cli/serve.rs       composition root: builds every part below, joins every task
//!   cli/serve/{certificate,routers,parts,sources,scaling}.rs   its flags; both ports; the tasks; file or variables; to zero or not
//!   cli/serve/descriptors.rs   the limit on open files
//!   cli/{cluster,kubeconfig}.rs   the client of kube-apiserver; which kubeconfig
//!   cli/cluster/{flags,proxy,credentials,tls,retry_after}.rs   kubectl's flags; which proxy; tokens and exec plugins; certificates; when it wants requests
//!   cli/check.rs; cli/check/{sources,cluster,identity,rights,registration,service,certificate,hpas}.rs   a look a file
//!   cli/check/{pre,report}.rs   before an install; lines, sections or a document
//!   cli/get.rs; cli/get/{origin,list,print,watch}.rs   a metric as an HPA gets it; cluster or sources; all metrics; how they are printed
//!   cli/explain.rs; cli/explain/{name,seen,account,verdict}.rs   one HPA: how it is named; what was read; its arithmetic, in text; what follows
//!   cli/explain/{summary,overview}.rs   all HPAs: one in a line; their lines, and what changes
//!   cli/autoscaler.rs; cli/autoscaler/{warnings,workload}.rs   an HPA as it is written; what is wrong with it, pure; what it scales
//!   cli/{finding,external_metrics,kubernetes,kube_api}.rs   one thing found; a metric request and its answer; which Kubernetes; requests to kube-apiserver
//!   cli/{failure,usage,output,table,help}.rs   errors with hints and exit codes; those of the command line; `-o`; tables; groups of commands, and sections of manual pages
//!   cli/{config,demo,emulate,unregister,version,man}.rs; cli/config/init.yaml, what `config init` prints; cli/demo/{user,poller,script}.rs; emulate/wave.rs
//!   cli/completion.rs; cli/completion/{candidates,kubectl}.rs   shell completion; values of a cluster; the plugin of kubectl
//!   # the request path, top to bottom
//!   server.rs          listener -> TLS -> HTTP -> given service; drain; no routes
//!   server/{limits,connections,protocol}.rs   limits of a peer; which connection is closed at the limit; HTTP/1.1 or 2
//!   server/tls.rs      rustls config, the current certificate, client certificates (proof of possession)
//!   request.rs         a request, parsed once: caller, verb, namespace, metric; request/peer.rs: its connection
//!   request/untrusted.rs   why a client certificate is refused, with the remedy; pure
//!   auth.rs            layer: authentication and authorization
//!   auth/{front_proxy,client_cert,token,access}.rs   one authenticator or authorizer each
//!   auth/front_proxy/seen.rs   front proxies that were accepted or refused lately
//!   auth/trust.rs      the identity ConfigMap, watched; auth/roots.rs: its current CAs, and chains checked against them
//!   auth/audit.rs      a line for each request that is newly denied or refused or fails, sampled when flooded
//!   auth/meters.rs     metrics of requests and of decisions
//!   auth/review_cache.rs  what the API server decided lately: single flight, bounded, renewed in use
//!   auth/review_limiter.rs  limits of reviews in flight and lately, shared by clients
//!   auth/unread.rs     memory of answers that clients have not taken, and each user's share of it
//!   api.rs             routes of external.metrics.k8s.io/v1beta1
//!   api/accept.rs      the forms that the client accepts, by its Accept headers; pure
//!   api/values.rs      selector in; api/encode.rs, encode/{protobuf,table}.rs: list or Table out
//!   api/{discovery,openapi}.rs   the documents of discovery; made when the metrics change, by api/fixed.rs
//!   api/meters.rs      how old the served values are
//!   api/reply.rs       indentation, compression and headers of an answer
//!   api_error.rs       metav1.Status; the one place where an API error gets its HTTP code
//!   selector.rs        labelSelector grammar: parse, match, print; pure
//!   selector/label_selector.rs   the LabelSelector of an HPA's metric, checked as the HPA controller does; pure
//!   lookup.rs          Catalog: (namespace, metric, selector) -> samples
//!   lookup/{polled,schedule,outage}.rs   a value kept fresh while it is requested: the freshness rule; when to read, pure; the error message while reads fail
//!   lookup/polled/poll.rs   what can be polled
//!   lookup/{reading,readings,list}.rs   the values of a source or part, polled; all readings of a source; a list of sources, polled
//!   lookup/{query,entry,entries}.rs   what a request means, pure; a source under its name; all sources of a moment
//!   lookup/{item,rows}.rs   an item of an answer; an answer for users, with rows that have no value
//!   lookup/{metrics,chosen}.rs   which metrics there are; answers about those whose names the config chooses; pure
//!   lookup/{view,refused}.rs   what a namespace may read, by name; what can't be selected somewhere, for the operator
//!   lookup/{registry,reader}.rs   what the config names and what is listed; the task that owns it and runs all reads
//!   lookup/{rules,activation,consumers,history}.rs   access, activation, fallback; consumers; an hour, gaps kept; pure
//!   lookup/{limits,shares}.rs   the limits; how namespaces share them; pure
//!   lookup/{state,meters,collector,export}.rs   all of it as plain data, as metrics, and as gauges; lookup/once.rs: without a catalog
//!   source.rs          Connection, Source and Listing (traits), KINDS; source/kind.rs: Kind (data)
//!   source/{keys,items,error,part}.rs   key tables, keys/{values,schema}.rs: decoded, as JSON Schema; what a read brings, or why it
//!                      failed; which part
//!   source/shared_read.rs   one read that serves many sources
//!   source/in_use.rs   what entries with equal keys use together
//!   source/service.rs  a service over HTTP as the config defines it; service/{keys,open,failover,instances,shared,errors}.rs: its keys;
//!                      put to work; which of its URLs; its instances, one by one; shared by entries with equal keys; a failure as a source's error
//!   source/chosen.rs; chosen/{number,room}.rs   metrics whose names the config chooses: from numbers of a service to items; which numbers are
//!                      values; how many items there may be; pure
//!   source/prometheus.rs   PromQL; prometheus/{answer,sentence,promql}.rs: answers, error messages about a query, warnings about one, pure;
//!                      prometheus/errors.rs: its errors in depthgauge's words
//!   source/rabbitmq.rs; rabbitmq/{connection,vhost,list,listing}.rs   queues of RabbitMQ; the lists that all queues of a vhost share
//!   source/rabbitmq/{page,field,queue,snapshot,path,errors}.rs   the queues of a list, since when, and where it is; its errors in depthgauge's words; pure
//!   source/servicebus.rs   queues and subscriptions of Azure Service Bus; servicebus/{connection,bus,list,listing}.rs: its keys; what
//!                      sources of a namespace share; the list that sources of `match` share; servicebus/errors.rs: its errors in depthgauge's words
//!   source/http_json.rs   documents over HTTP; http_json/{content,json_path,number,errors}.rs: what of them is the value; JSONPath;
//!                      numbers in JSON; its errors; pure; http_json/json_path/unsupported.rs: what of a JSONPath is refused
//!   source/schedule.rs   a value inside windows of time; schedule/{expression,zone,windows}.rs: cron expressions, time zones, when it is inside; pure
//!   source/scrape.rs   the metrics of all pods of a Service; scrape/{reading,counter,fleet}.rs: the selected series of one; the rate of a
//!                      counter; the numbers of all pods; scrape/{keys,errors}.rs: its keys; its errors; pure
//!   source/oci_queue.rs   the one place that uses both sides; oci_queue/connection.rs: credentials, and what an entry opens;
//!                      oci_queue/{parts,control_plane}.rs: its channels and groups; where GetQueue and the lists are requested;
//!                      oci_queue/{listing,errors}.rs: queues by their display names; its errors in depthgauge's words
//!   oci.rs             client: sign, send, decode; independent of metrics; oci/signing.rs: what authenticates a request
//!   oci/{endpoint,sign,region,declared,queue,compartment,consumer_group,group_id,ocid}.rs, oci/regions.tsv   declared: regions that the table does not have
//!   oci/{answer,error}.rs   what is read from an answer; why there is none
//!   oci/credentials.rs  the current signer, of files or of a session
//!   oci/{choice,environment,config_file,key,token,policy}.rs   authentication method; profiles; PEM forms; JWTs; IAM; pure
//!   oci/config_file/text.rs   sections, keys and values with their lines; pure
//!   oci/files.rs       signers made of files that are watched; oci/resource_principal.rs
//!   oci/session.rs     keys for minutes; oci/{workload_identity,instance_principal,metadata}.rs
//!   azure.rs           client of Azure Service Bus's management API; independent of metrics
//!   azure/{atom,error,path,namespace}.rs   what is read from an answer, and from an error; where entities are; the host, and its cloud; pure
//!   azure/{auth,sas,connection_string}.rs   what authenticates a request; shared access signatures; pure
//!   azure/{token,workload_identity,managed_identity}.rs   tokens of Microsoft Entra ID; azure/reach.rs: at what address a host is
//!   http.rs            client of every service: no request without an upstream; deadline, retries, 401, body limit
//!   http/{authorize,error,retry_after}.rs   what authenticates; kinds of failures that have different remedies; when to retry
//!   http/{credentials,secret,oauth2,session}.rs   credentials that are files; a file with a secret; tokens; what a service grants for minutes
//!   http/{transport,url,base}.rs   connections and trust; what of a URL is sent, and which hosts are near; the URL of a service in a config
//!   http/proxy.rs      the proxy of the config or of the environment, and why it made no connection
//!   http/{sockets,body}.rs   how many there may be where the process may open few files; the body of an answer, and how many long ones
//!                      there may be at a time
//!   upstream.rs        a service that is queried, without its protocol: whether a request may be sent now
//!   upstream/{line,rate_limiter,permits}.rs   reads that wait, round-robin over their owners; for its rate; for a permit at a host
//!   upstream/{breaker,pauses,retry}.rs   which hosts are down; pauses that it requires; the budget of retries
//!   watched.rs         files whose content is followed: by a task, or when what they make is used
//!   metric.rs          vocabulary: MetricName, Namespace, Labels, Sample, Clock
//!   metric/{quantity,pattern,names}.rs   Kubernetes Quantity, quantity/text.rs reads it; names with `*`; names in a message and in a URL; pure
//!   metric/labels.rs   the labels of a sample, as one text
//!   metric/selectable.rs   label values for names that no label value can hold; pure
//!   exposition.rs      metrics as programs expose them: text format and OpenMetrics; pure
//!   exposition/{cursor,selector}.rs   names and strings that they are written with; series selectors of PromQL; pure
//!   # beside the request path
//!   rbac.rs            a missing right, with the YAML that grants it; pure
//!   endpoints.rs       the ready pods of Services, watched; endpoints/slices.rs: from EndpointSlices, pure
//!   certs.rs           the current serving certificate (ECDSA P-256)
//!   certs/{rotation,issue,publication,inspection}.rs   its rotation, pure; making it; since when its CA is published; one seen from outside
//!   certs/store.rs; certs/store/{dir,secret}.rs; certs/own_files.rs   where it is kept; or files of another issuer
//!   certs/{serving,lifetimes,expiry,secret_ref}.rs   as the listener has it; for how long; as a metric; `NAMESPACE/NAME`
//!   apiservice.rs      keep APIService and caBundle in step
//!   apiservice/{object,install,unregister,service_ref,availability}.rs   its owner, pure; what it is deleted with; giving it up; as a metric
//!   zero.rs            0 <-> N where the HPA cannot, or is slow; workloads stuck at zero; off by default
//!   zero/{decide,autoscaler,workload,metrics,size,finding}.rs   what to do; an HPA as far as it matters; what it scales; what it requests and reads; how many pods; what is wrong; pure
//!   zero/{scheduler,reconciler}.rs   all HPAs and when each is due; one of them
//!   zero/cooldown.rs   how long its cooldown has lasted, by a clock that cannot be set
//!   zero/{values,scale}.rs   what its metrics read; its workload's scale subresource
//!   zero/{objects,kinds,calls,breaker}.rs   values of its Object metrics, by custom.metrics.k8s.io; resource names of its kinds; why a call fails; when few are made
//!   zero/{lease,events,findings}.rs   which replica acts; Events on the HPA; all that is wrong now
//!   zero/restore.rs  workloads are scaled up from zero when depthgauge is removed
//!   hpa.rs             the HPA controller's arithmetic, all metrics of an HPA; pure; for demo, explain and zero
//!   hpa/{proposal,reader}.rs   one metric; the one reader of HPA objects, for check, explain and zero
//!   health.rs          named checks that parts report into: ok, degraded, failed
//!   admin.rs           plain HTTP: /livez /readyz /metrics /status; admin/exposition.rs: the two forms of /metrics
//!   admin/connections.rs   which of its connections stay open: how many, and how much of their answers
//!   admin/status.rs    the state of the process; status/{view,reading,redact,lines}.rs: as JSON, pure; status/{page,sparkline}.rs, page.{css,js}: as a page
//!   telemetry.rs       log format and filter, metrics registry
//!   document.rs        YAML tree with positions, error collector
//!   config.rs          files -> typed entries; the only reader of them
//!   config/keda.rs     objects of KEDA instead of a config; pure
//!   config/{files,opener,reload,environment}.rs   a file or a folder, and its changes; opened; followed while it is served; a start without it
//!   config/{entry,connections,keys,unique,schema}.rs   an entry; what entries are read through; keys of every entry; which may have one name; its JSON Schema
//! ```
//!
//! Which module may use which is a test: `tests/it/layers.rs`. So is that files do not import each
//! other in a circle: `tests/it/circles.rs`.

pub mod cli;

pub mod server;

pub mod request;

pub mod auth;

pub mod api;

pub mod api_error;

pub mod selector;

pub mod lookup;

pub mod source;

pub mod oci;

pub mod azure;

pub mod http;

pub mod upstream;

pub mod watched;

pub mod metric;

pub mod exposition;

pub mod rbac;

pub mod endpoints;

pub mod certs;

pub mod apiservice;

pub mod zero;

pub mod hpa;

pub mod health;

pub mod admin;

pub mod telemetry;

pub mod document;

pub mod config;
