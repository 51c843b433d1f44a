package config_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/credproxy/credproxy/config"
)

func TestSet(t *testing.T) {
	tests := []struct {
		key, value string
		got        func(c *config.Config) any
		want       any
		err        string
	}{
		{"admin.listen", "127.0.0.1:0", func(c *config.Config) any { return c.Admin.Listen }, "127.0.0.1:0", ""},
		{"admin.listen", "", func(c *config.Config) any { return c.Admin.Listen }, "", ""},
		{"admin.listen", "x", func(c *config.Config) any { return c.Admin.Listen }, "127.0.0.1:9090", `"x" is not host:port; write one such as 127.0.0.1:5432, or unix:/path`},
		{"admin.readiness", "strict", func(c *config.Config) any { return c.Admin.Readiness }, config.Strict, ""},
		{"admin.readiness", "never", func(c *config.Config) any { return c.Admin.Readiness }, config.Serving, `"never" is not valid here; write serving or strict`},
		{"admin.control", "unix:/run/x.sock", func(c *config.Config) any { return c.Admin.Control }, "unix:/run/x.sock", ""},
		{"admin.control", "127.0.0.1:1", func(c *config.Config) any { return c.Admin.Control }, "auto", `"127.0.0.1:1" is not a unix socket; write unix:/run/credproxy/control.sock, or auto`},
		{"log.level", "debug", func(c *config.Config) any { return c.Log.Level }, "debug", ""},
		{"log.level", "loud", func(c *config.Config) any { return c.Log.Level }, "info", `"loud" is not valid here; write debug, info, warn or error`},
		{"log.format", "console", func(c *config.Config) any { return c.Log.Format }, "console", ""},
		{"metrics.emf", "true", func(c *config.Config) any { return c.Metrics.EMF }, true, ""},
		{"metrics.emf", "maybe", func(c *config.Config) any { return c.Metrics.EMF }, false, `"maybe" is not valid here; write true or false`},
		{"metrics.service", "orders", func(c *config.Config) any { return c.Metrics.Service }, "orders", ""},
		{"metrics.service", "", func(c *config.Config) any { return c.Metrics.Service }, "", ""},
		{"metrics.environment", "pro d", func(c *config.Config) any { return c.Metrics.Environment }, "", `"pro d" is not a dimension's value; write 1 to 64 letters, digits, dots, underscores or hyphens`},
		{"tracing.endpoint", "https://traces.example", func(c *config.Config) any { return c.Tracing.Endpoint }, "https://traces.example", ""},
		{"tracing.endpoint", "collector:4318", func(c *config.Config) any { return c.Tracing.Endpoint }, "", `not the URL of an OTLP receiver; write one such as http://127.0.0.1:4318`},
		{"tracing.endpoint", "http://user:planted@traces.example", func(c *config.Config) any { return c.Tracing.Endpoint }, "", `the URL of an OTLP receiver has no user, password or query; put what it asks for into the variable OTEL_EXPORTER_OTLP_HEADERS`},
		{"shutdown.min_delay", "10s", func(c *config.Config) any { return c.Shutdown.MinDelay }, 10 * time.Second, ""},
		{"shutdown.min_delay", "10", func(c *config.Config) any { return c.Shutdown.MinDelay }, time.Duration(0), `"10" is not a duration; write one such as 90s, 5m or 1h`},
		{"shutdown.drain_timeout", "-1s", func(c *config.Config) any { return c.Shutdown.DrainTimeout }, 30 * time.Second, "-1s is negative; write a duration of 0s or more"},
		{"databases", "x", func(*config.Config) any { return nil }, nil, `"databases" is not a setting`},
	}
	for _, tt := range tests {
		t.Run(tt.key+"="+tt.value, func(t *testing.T) {
			c := mustParse(t, db())
			message := ""
			if err := c.Set(tt.key, tt.value); err != nil {
				message = err.Error()
			}
			if message != tt.err {
				t.Errorf("got error %q, want %q", message, tt.err)
			}
			if got := tt.got(c); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// The default that a flag shows is the one that a file without the key gets.
func TestSettings(t *testing.T) {
	want := map[string]string{
		"admin-listen": "CREDPROXY_ADMIN_LISTEN", "admin-control": "CREDPROXY_ADMIN_CONTROL",
		"admin-readiness": "CREDPROXY_ADMIN_READINESS", "log-level": "CREDPROXY_LOG_LEVEL", "log-format": "CREDPROXY_LOG_FORMAT",
		"metrics-emf": "CREDPROXY_METRICS_EMF", "metrics-service": "CREDPROXY_METRICS_SERVICE",
		"metrics-environment": "CREDPROXY_METRICS_ENVIRONMENT", "tracing-endpoint": "CREDPROXY_TRACING_ENDPOINT",
		"shutdown-min-delay":       "CREDPROXY_SHUTDOWN_MIN_DELAY",
		"shutdown-drain-timeout":   "CREDPROXY_SHUTDOWN_DRAIN_TIMEOUT",
		"shutdown-upgrade-timeout": "CREDPROXY_SHUTDOWN_UPGRADE_TIMEOUT",
	}
	settings := config.Settings()
	if len(settings) != len(want) {
		t.Errorf("%d settings, want %d", len(settings), len(want))
	}
	for _, s := range settings {
		if s.Env() != want[s.Flag] {
			t.Errorf("--%s: variable %s, want %s", s.Flag, s.Env(), want[s.Flag])
		}
		c := mustParse(t, db())
		before := *c
		if err := c.Set(s.Key, s.Default); err != nil {
			t.Errorf("--%s: %v", s.Flag, err)
		}
		if !reflect.DeepEqual(c.Admin, before.Admin) || c.Log != before.Log || c.Metrics != before.Metrics || c.Shutdown != before.Shutdown {
			t.Errorf("--%s: %q is not the default", s.Flag, s.Default)
		}
	}
}
