package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Setting is a key that a flag and an environment variable can set as well.
type Setting struct {
	Flag    string // without dashes
	Key     string // in the file, and for Config.Set
	Usage   string
	Default string
	Bool    bool // a flag that stands without a value

	field func(*Config) any // *string, *Readiness, *bool or *time.Duration
}

// Env returns the environment variable's name.
func (s Setting) Env() string {
	return "CREDPROXY_" + strings.ToUpper(strings.ReplaceAll(s.Flag, "-", "_"))
}

// Settings returns them in the order of the schema. Callers hold the
// precedence: flag, then environment, then file.
func Settings() []Setting {
	return []Setting{
		{
			Flag: "admin-listen", Key: "admin.listen", Default: defaultAdminListen,
			Usage: `address of probes, metrics and status page, "" for none`,
			field: func(c *Config) any { return &c.Admin.Listen },
		},
		{
			Flag: "admin-control", Key: "admin.control", Default: defaultAdminControl,
			Usage: `socket for shutdown, profiles and break-glass, unix:/path or auto, "" for none`,
			field: func(c *Config) any { return &c.Admin.Control },
		},
		{
			Flag: "admin-readiness", Key: "admin.readiness", Default: string(defaultReadiness),
			Usage: "what turns readiness off: serving (draining alone, once ready) or strict (all that keeps new clients out)",
			field: func(c *Config) any { return &c.Admin.Readiness },
		},
		{
			Flag: "log-level", Key: "log.level", Default: defaultLogLevel,
			Usage: "debug, info, warn or error",
			field: func(c *Config) any { return &c.Log.Level },
		},
		{
			Flag: "log-format", Key: "log.format",
			Usage: "json or console (default console on a terminal, else json)",
			field: func(c *Config) any { return &c.Log.Format },
		},
		{
			Flag: "metrics-emf", Key: "metrics.emf", Default: "false", Bool: true,
			Usage: "write CloudWatch Embedded Metric Format lines to standard output",
			field: func(c *Config) any { return &c.Metrics.EMF },
		},
		{
			Flag: "metrics-service", Key: "metrics.service",
			Usage: "with --metrics-emf: the dimension service of every metric (default none)",
			field: func(c *Config) any { return &c.Metrics.Service },
		},
		{
			Flag: "metrics-environment", Key: "metrics.environment",
			Usage: "with --metrics-emf: the dimension environment of every metric, such as prod (default none)",
			field: func(c *Config) any { return &c.Metrics.Environment },
		},
		{
			Flag: "tracing-endpoint", Key: "tracing.endpoint",
			Usage: "send a trace of each login to this OTLP receiver, such as http://127.0.0.1:4318 (default what OTEL_EXPORTER_OTLP_ENDPOINT says, else none)",
			field: func(c *Config) any { return &c.Tracing.Endpoint },
		},
		{
			Flag: "shutdown-min-delay", Key: "shutdown.min_delay", Default: "0s",
			Usage: "keep accepting this long after SIGTERM",
			field: func(c *Config) any { return &c.Shutdown.MinDelay },
		},
		{
			Flag: "shutdown-drain-timeout", Key: "shutdown.drain_timeout", Default: defaultDrainTimeout.String(),
			Usage: "then wait this long for sessions to end",
			field: func(c *Config) any { return &c.Shutdown.DrainTimeout },
		},
		{
			Flag: "shutdown-upgrade-timeout", Key: "shutdown.upgrade_timeout", Default: defaultUpgradeTimeout.String(),
			Usage: "after an upgrade the old process waits this long for its sessions to end",
			field: func(c *Config) any { return &c.Shutdown.UpgradeTimeout },
		},
	}
}

// Set gives the Setting with this key a value, over what the file says. On an
// error the configuration is unchanged, and the message says what to write; it
// does not name the key, for the caller knows whether it came from a flag.
func (c *Config) Set(key, value string) error {
	for _, s := range Settings() {
		if s.Key == key {
			return c.set(s, value)
		}
	}
	return fmt.Errorf("%q is not a setting", key)
}

func (c *Config) set(s Setting, value string) error {
	changed := *c
	var err error
	switch field := s.field(&changed).(type) {
	case *string:
		*field = value
	case *Readiness:
		*field = Readiness(value)
	case *bool:
		*field, err = strconv.ParseBool(value)
		if err != nil {
			return fmt.Errorf("%q is not valid here; write true or false", shorten(value))
		}
	case *time.Duration:
		*field, err = time.ParseDuration(value)
		if err != nil {
			return fmt.Errorf("%q is not a duration; write one such as 90s, 5m or 1h", shorten(value))
		}
	}
	v := validator{
		written: func(path string) bool { return path == s.Key },
		fail: func(path, message string) {
			if path == s.Key && err == nil {
				err = errors.New(message)
			}
		},
	}
	v.process(&changed)
	if err == nil {
		*c = changed
	}
	return err
}
