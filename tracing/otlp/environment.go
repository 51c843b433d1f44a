package otlp

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/credproxy/credproxy/tracing"
)

// tracesPath is where a receiver takes traces, below its endpoint.
const tracesPath = "v1/traces"

// defaultTimeout is for one request (OTEL_EXPORTER_OTLP_TIMEOUT).
const defaultTimeout = 10 * time.Second

// settings are where to send, and how.
type settings struct {
	url     string
	headers http.Header
	timeout time.Duration
	gzip    bool
	tls     *tls.Config // nil: the system's
}

// variable returns what the environment says for traces, or else for all signals, and the
// name of the variable.
func variable(name string) (value, from string) {
	for _, from := range []string{"OTEL_EXPORTER_OTLP_TRACES_" + name, "OTEL_EXPORTER_OTLP_" + name} {
		if value := strings.TrimSpace(os.Getenv(from)); value != "" {
			return value, from
		}
	}
	return "", ""
}

// endpoint returns the URL for traces: configured's, or else the environment's. "" is none.
func endpoint(configured string) (string, error) {
	from, base := "tracing.endpoint", configured
	if base == "" {
		if base, from = variable("ENDPOINT"); base == "" {
			return "", nil
		}
	}
	u, err := tracing.ParseEndpoint(base)
	if err != nil {
		return "", fmt.Errorf("%s: %w", from, err)
	}
	if from != "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" {
		u = u.JoinPath(tracesPath)
	} else if u.Path == "" {
		u.Path = "/"
	}
	return u.String(), nil
}

// disabled reports whether the environment turns traces off, whatever else is set.
func disabled() bool {
	return strings.EqualFold(strings.TrimSpace(os.Getenv("OTEL_SDK_DISABLED")), "true") ||
		strings.EqualFold(strings.TrimSpace(os.Getenv("OTEL_TRACES_EXPORTER")), "none")
}

// read reads the rest of the settings, for what is sent to url. No error quotes a header.
func read(url string) (s settings, err error) {
	s = settings{url: url, timeout: defaultTimeout}
	if s.headers, err = readHeaders(); err != nil {
		return s, err
	}
	if value, from := variable("TIMEOUT"); from != "" {
		ms, err := strconv.Atoi(value)
		if err != nil || ms <= 0 {
			return s, fmt.Errorf("%s: not a number of milliseconds above 0", from)
		}
		s.timeout = time.Duration(ms) * time.Millisecond
	}
	switch value, from := variable("COMPRESSION"); value {
	case "", "none":
	case "gzip":
		s.gzip = true
	default:
		return s, fmt.Errorf("%s: write gzip or none", from)
	}
	s.tls, err = readTLS()
	return s, err
}

// readHeaders reads name=value,name=value, whose values are percent-encoded.
func readHeaders() (http.Header, error) {
	headers := http.Header{}
	text, from := variable("HEADERS")
	for i, pair := range strings.Split(text, ",") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		name, value, ok := strings.Cut(pair, "=")
		name = strings.TrimSpace(name)
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if !ok || name == "" || err != nil || strings.ContainsAny(name+value, "\r\n\x00") || strings.ContainsAny(name, " \t:") {
			return nil, fmt.Errorf("%s: entry %d is not name=value, with a percent-encoded value", from, i+1)
		}
		headers.Set(name, value)
	}
	return headers, nil
}

// readTLS reads what receivers and we show each other; nil if nothing is set.
func readTLS() (*tls.Config, error) {
	ca, from := variable("CERTIFICATE")
	cert, certFrom := variable("CLIENT_CERTIFICATE")
	key, keyFrom := variable("CLIENT_KEY")
	if ca == "" && cert == "" && key == "" {
		return nil, nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", from, err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: no certificate in %s", from, ca)
		}
	}
	if cert != "" || key != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", cmp.Or(certFrom, keyFrom), err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}
