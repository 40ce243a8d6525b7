//! What no client library writes.

use Readers::{Both, Depthgauge, Neither, Prometheus};

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Who reads an exposition: Debian's Prometheus or depthgauge.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Readers {
    Both,
    Depthgauge,
    Prometheus,
    Neither,
}

/// Content types, texts, and who reads them.
pub(crate) const BY_HAND: &[(&str, &str, Readers)] = &[
    (TEXT, "", Both),
    (TEXT, "a 1", Both),
    (TEXT, "#comment\n# \tTYPE a counter\n\n  \t\na 1\nb  { x = \"1\" , y=\"\", } \t+2.5e-3\n", Both),
    (TEXT, "c{p=\"C:\\\\DIR\\\\n\",q=\"\\\"x\\\"\\n\",r=\"\\d\",s=\"two\nlines\"} 7e-1\n", Both),
    (TEXT, "a{b=\"c\"}1\na 2 1700000000123\n", Both),
    (TEXT, "a{n=\"1\"} +1\na{n=\"2\"} .5\na{n=\"3\"} 5.\na{n=\"4\"} 1E-7\na{n=\"5\"} infinity\na{n=\"6\"} nan\n", Both),
    (TEXT, "a{n=\"1\"} -0\na{n=\"2\"} 9007199254740993\na{n=\"3\"} 5e-324\na{n=\"4\"} 1e-400\na{n=\"5\"} -iNF\n", Both),
    // The differences that the module documents.
    (TEXT, " a 1\n", Depthgauge),
    (TEXT, "a 1\r\nb 2\r\n", Depthgauge),
    (TEXT, "# TYPE a info\na 1\n", Depthgauge),
    (TEXT, "# TYPE a unknown\na 1\n", Depthgauge),
    (TEXT, "a 1 -5\n", Depthgauge),
    (TEXT, "a{b=\"c\" d=\"e\"} 1\n", Prometheus),
    (OPEN_METRICS, "# comment\na 1\n# EOF\n", Depthgauge),
    (OPEN_METRICS, "a 1\n\n# EOF\n", Depthgauge),
    (OPEN_METRICS, "a  1\n# EOF\n", Depthgauge),
    (OPEN_METRICS, "a 1\r\n# EOF\r\n", Depthgauge),
    (OPEN_METRICS, "# TYPE a untyped\na 1\n# EOF\n", Depthgauge),
    // Debian's Prometheus does not know names in quotation marks yet.
    (TEXT, "{\"a.b\"} 1\n", Depthgauge),
    (TEXT, "a{\"b.c\"=\"d\"} 1\n", Depthgauge),
    (OPEN_METRICS, "{\"a.b\",\"b.c\"=\"d\"} 1\n# EOF\n", Depthgauge),
    (TEXT, "a\n", Neither),
    (TEXT, "a 1\nb\n", Neither),
    (TEXT, "a 0x1p-2\n", Neither),
    (TEXT, "a 0x10\n", Neither),
    (TEXT, "a 1_000\n", Neither),
    (TEXT, "a 1e999\n", Neither),
    (TEXT, "a +NaN\n", Neither),
    (TEXT, "a true\n", Neither),
    (TEXT, "a 1,5\n", Neither),
    (TEXT, "a 1 1700000000.5\n", Neither),
    (TEXT, "a 1 2 3\n", Neither),
    (TEXT, "a-b 1\n", Neither),
    (TEXT, "1a 1\n", Neither),
    (TEXT, "{} 1\n", Neither),
    (TEXT, "{b=\"c\"} 1\n", Neither),
    (TEXT, "a{b='c'} 1\n", Neither),
    (TEXT, "a{b=\"c} 1\n", Neither),
    (TEXT, "a{b=\"c\"", Neither),
    (TEXT, "a{,} 1\n", Neither),
    (TEXT, "a{b} 1\n", Neither),
    (TEXT, "a{b=\"c\",b=\"d\"} 1\n", Neither),
    (TEXT, "a{__name__=\"b\"} 1\n", Neither),
    (TEXT, "a{b:c=\"d\"} 1\n", Neither),
    (TEXT, "a 1 # {b=\"c\"} 1\n", Neither),
    (TEXT, "# TYPE a dragon\n", Neither),
    (TEXT, "# TYPE a\n", Neither),
    (TEXT, "# TYPE 9 gauge\n", Neither),
    (TEXT, "# HELP 9 Nine.\n", Neither),
    (TEXT, "# HELP \n", Neither),
    (TEXT, "<html>\n", Neither),
    (OPEN_METRICS, "# EOF", Both),
    (OPEN_METRICS, "# TYPE a counter\na_total 1 1700000000.123 # {b=\"c\"} 0.5 1.5\na_created 1e9\n# EOF\n", Both),
    (OPEN_METRICS, "# TYPE a_seconds gauge\n# UNIT a_seconds seconds\na_seconds -1 1700000000\n# EOF\n", Both),
    (OPEN_METRICS, "", Neither),
    (OPEN_METRICS, "a 1\n", Neither),
    (OPEN_METRICS, "a 1\n# EOF\nb 2\n", Neither),
    (OPEN_METRICS, "a 1\n# EOF\n\n", Neither),
    (OPEN_METRICS, "a{b=\"c\nd\"} 1\n# EOF\n", Neither),
    (OPEN_METRICS, "a 1 #\n# EOF\n", Neither),
    (OPEN_METRICS, "a 1 # {b} 5\n# EOF\n", Neither),
    (OPEN_METRICS, "a 1 # {b=\"c\"}\n# EOF\n", Neither),
    (OPEN_METRICS, "a 1 NaN\n# EOF\n", Neither),
    (OPEN_METRICS, "# TYPE a dragon\n# EOF\n", Neither),
    (OPEN_METRICS, "# HELP 9 Nine.\n# EOF\n", Neither),
];

// === impl Readers ===

impl Readers {
    pub(crate) fn with_depthgauge(self) -> bool {
        matches!(self, Self::Both | Self::Depthgauge)
    }

    pub(crate) fn with_prometheus(self) -> bool {
        matches!(self, Self::Both | Self::Prometheus)
    }
}
