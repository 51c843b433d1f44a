package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/credproxy/credproxy/tracing"
)

// validator checks what a file says against itself and the machine.
type validator struct {
	fail    func(path, message string) // notes an error
	written func(path string) bool

	names  map[string]string // database name to the path of the database
	listen listeners
}

func (v *validator) failf(path, format string, args ...any) {
	v.fail(path, fmt.Sprintf(format, args...))
}

func newValidator(fail func(path, message string), written func(path string) bool) *validator {
	return &validator{fail, written, map[string]string{}, listeners{unix: map[string]string{}, tcp: map[uint16]map[string]string{}}}
}

func (v *validator) config(c *Config) {
	v.process(c)
	if c.Admin.Listen != "" {
		v.listen.add("tcp", c.Admin.Listen, "admin.listen")
	}
	if path, ok := strings.CutPrefix(c.Admin.Control, "unix:"); ok {
		v.listen.add("unix", path, "admin.control")
	}
	v.discover(c.Discover)
	if len(c.Databases) == 0 && len(c.Discover) == 0 {
		at := "databases"
		if v.written("discover") {
			at = "discover"
		}
		v.fail(at, "no database; write at least one entry with name and credentials")
	}
	for i := range c.Databases {
		v.database(fmt.Sprintf("databases[%d]", i), &c.Databases[i])
	}
}

// process checks the settings of the process as a whole.
func (v *validator) process(c *Config) {
	if c.Admin.Listen != "" {
		if _, _, err := splitHostPort(c.Admin.Listen); err != nil {
			v.fail("admin.listen", err.Error())
		}
	}
	if control := c.Admin.Control; control != "" && control != defaultAdminControl {
		if network, _, err := ParseListener(control); err != nil || network != "unix" {
			v.failf("admin.control", "%q is not a unix socket; write unix:/run/credproxy/control.sock, or auto", shorten(control))
		}
	}
	v.users("admin.uids", c.Admin.UIDs)
	v.oneOf("admin.readiness", string(c.Admin.Readiness), string(Serving), string(Strict))
	v.oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	if c.Log.Format != "" {
		v.oneOf("log.format", c.Log.Format, "json", "console")
	}
	v.dimension("metrics.service", c.Metrics.Service)
	v.dimension("metrics.environment", c.Metrics.Environment)
	if c.Tracing.Endpoint != "" {
		if _, err := tracing.ParseEndpoint(c.Tracing.Endpoint); err != nil {
			v.fail("tracing.endpoint", err.Error())
		}
	}
	v.atLeastZero("shutdown.min_delay", c.Shutdown.MinDelay)
	v.atLeastZero("shutdown.drain_timeout", c.Shutdown.DrainTimeout)
	v.atLeastZero("shutdown.upgrade_timeout", c.Shutdown.UpgradeTimeout)
}

// dimension checks the value of a dimension in CloudWatch, which takes more than these characters,
// but none that is empty. "" is no dimension.
func (v *validator) dimension(path, value string) {
	if value != "" && !databaseName.MatchString(value) {
		v.failf(path, "%q is not a dimension's value; write 1 to 64 letters, digits, dots, underscores or hyphens", shorten(value))
	}
}

func (v *validator) oneOf(path, value string, valid ...string) {
	if !slices.Contains(valid, value) {
		last := len(valid) - 1
		v.failf(path, "%q is not valid here; write %s or %s", shorten(value), strings.Join(valid[:last], ", "), valid[last])
	}
}

func (v *validator) atLeastZero(path string, d time.Duration) {
	if d < 0 {
		v.failf(path, "%s is negative; write a duration of 0s or more", d)
	}
}

func (v *validator) aboveZero(path string, d time.Duration) {
	if d <= 0 {
		v.failf(path, "%s is too short; write a duration above 0s", d)
	}
}

// readable checks that a file exists and opens. "" is no file.
func (v *validator) readable(path, name string) {
	if name == "" {
		return
	}
	info, err := os.Stat(name)
	if err == nil && info.Mode().IsRegular() { // opening a pipe could wait for its writer
		var f *os.File
		if f, err = os.Open(name); err == nil {
			f.Close()
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		v.failf(path, "no such file: %q; write the path of a PEM file", shorten(name))
	case errors.Is(err, fs.ErrPermission):
		v.failf(path, "not allowed to read %q; change the file's mode or owner", shorten(name))
	case err != nil:
		v.failf(path, "cannot read %q; write the path of a PEM file", shorten(name))
	case info.IsDir():
		v.failf(path, "%q is a directory; write the path of a PEM file", shorten(name))
	}
}

// pair checks that two settings come together.
func (v *validator) pair(section, a, valueA, b, valueB string) {
	if valueA != "" && valueB == "" {
		v.failf(section+"."+a, "needs %s beside it; set both or neither", b)
	}
	if valueB != "" && valueA == "" {
		v.failf(section+"."+b, "needs %s beside it; set both or neither", a)
	}
}
