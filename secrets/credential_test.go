package secrets

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const planted = "hunter2-planted-secret"

func TestCredentialRedactsItself(t *testing.T) {
	c := NewCredential("app", planted)
	c.VersionID = "b3f1"
	holder := struct {
		Exported *Credential
		value    Credential
		pointer  *Credential
		inside   struct{ c Credential }
	}{c, *c, c, struct{ c Credential }{*c}}
	var out strings.Builder
	for _, v := range []any{c, *c, holder, &holder, []Credential{*c}, map[string]*Credential{"k": c}, fmt.Errorf("login: %v", c)} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%p"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		if b, err := json.Marshal(v); err == nil {
			out.Write(b)
		}
	}
	core, logs := observer.New(zapcore.DebugLevel)
	log := zap.New(core)
	log.Debug("x", zap.Any("c", c), zap.Reflect("r", holder), zap.Stringer("s", c), zap.Error(MarkRejected(errors.New(c.String()))))
	enc := zapcore.NewJSONEncoder(zap.NewDevelopmentEncoderConfig())
	for _, e := range logs.All() {
		b, err := enc.EncodeEntry(e.Entry, e.Context)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(b.Bytes())
	}
	if strings.Contains(out.String(), planted) || strings.Contains(out.String(), fmt.Sprintf("%x", planted)) {
		t.Errorf("the password shows in:\n%s", out.String())
	}
	if !strings.Contains(out.String(), `"app"`) || !strings.Contains(out.String(), "b3f1") {
		t.Errorf("user and version should show in:\n%s", out.String())
	}
	if c.reveal() != planted {
		t.Error("Password does not give the password")
	}
}

func TestExpired(t *testing.T) {
	now := time.Now()
	c := NewCredential("app", "x")
	if c.Expired(now.AddDate(100, 0, 0)) {
		t.Error("a credential without an end expired")
	}
	c.Expires = now
	if !c.Expired(now) || c.Expired(now.Add(-time.Nanosecond)) {
		t.Error("the end is exclusive")
	}
}

func TestLocalVersion(t *testing.T) {
	version := func(username, password string) string {
		c := NewCredential(username, password)
		c.UseLocalVersion()
		return c.VersionID
	}
	a, b := version("app", "x"), version("ap", "px")
	if a == b || a != version("app", "x") || strings.Contains(a, "x") || len(a) != 32 {
		t.Errorf("ids %q, %q", a, b)
	}
}
