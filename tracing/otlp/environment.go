package otlp

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/credproxy/credproxy/tracing"
)

// tracesPath is where a receiver takes traces, below its endpoint.
const tracesPath = "v1/traces"

const (
	// defaultTimeout is for one request (OTEL_EXPORTER_OTLP_TIMEOUT).
	defaultTimeout = 10 * time.Second
	// maxMilliseconds caps every time of the environment: an hour.
	maxMilliseconds = 3_600_000
)

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

// read reads where traces go, and how; without a URL there are none. No error quotes a value.
func read(configured string) (s settings, err error) {
	if disabled() {
		return settings{}, nil
	}
	s = settings{timeout: defaultTimeout}
	protocol, from := variable("PROTOCOL")
	if base, _ := variable("ENDPOINT"); configured == "" && base != "" && protocol != "" && protocol != "http/protobuf" {
		return s, fmt.Errorf("%s: credproxy speaks http/protobuf alone; set tracing.endpoint to a receiver of that, by default at port 4318", from)
	}
	if s.url, err = endpoint(configured); s.url == "" {
		return s, err
	}
	exporters := strings.TrimSpace(os.Getenv("OTEL_TRACES_EXPORTER"))
	if exporters != "" && !slices.Contains(strings.Split(exporters, ","), "otlp") {
		return s, errors.New("OTEL_TRACES_EXPORTER: credproxy has otlp and none")
	}
	if s.headers, err = readHeaders(); err != nil {
		return s, err
	}
	if value, from := variable("TIMEOUT"); from != "" {
		ms, err := number(from, value, maxMilliseconds)
		if err != nil {
			return s, err
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

// number reads the value of a variable.
func number(from, value string, most int) (int, error) {
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 || n > most {
		return 0, fmt.Errorf("%s: not a whole number from 1 to %d", from, most)
	}
	return n, nil
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
		if !ok || name == "" || err != nil || strings.ContainsFunc(name, noToken) || strings.ContainsFunc(value, unicode.IsControl) {
			return nil, fmt.Errorf("%s: entry %d is not name=value, with a percent-encoded value", from, i+1)
		}
		headers.Set(name, value)
	}
	return headers, nil
}

// noToken reports whether a header's name must not hold r (RFC 9110, section 5.6.2).
func noToken(r rune) bool {
	letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
	return !letter && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
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
