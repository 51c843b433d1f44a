package tracing

import (
	"errors"
	"net/url"
)

// ParseEndpoint reads the URL of a receiver. The error does not repeat it: a URL may hold a
// password.
func ParseEndpoint(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return nil, errors.New("not the URL of an OTLP receiver; write one such as http://127.0.0.1:4318")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("the URL of an OTLP receiver has no user, password or query; put what it asks for into the variable OTEL_EXPORTER_OTLP_HEADERS")
	}
	return u, nil
}
