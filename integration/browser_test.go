package integration_test

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

const chromium = "/var/cache/credproxy-test/chromium/browser" // by setup.sh

// browser is a headless Chromium with one tab, driven over the pipes of the Chrome
// DevTools Protocol: messages of JSON, each with a zero byte at its end.
type browser struct {
	t       *testing.T
	to      *os.File
	from    *bufio.Reader
	tab     string // the session of the protocol that the tab has
	calls   int
	fetched []string // all URLs that were asked for
	status  []int    // of the answers, also of those that the page may not see
	said    []string // what the browser had against the page: violations of its policy, errors
}

// message is a call, its answer or an event.
type message struct {
	ID      int             `json:"id,omitempty"`
	Session string          `json:"sessionId,omitempty"`
	Method  string          `json:"method,omitempty"`
	Params  any             `json:"params,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   json.RawMessage `json:"error,omitempty"`
}

func newBrowser(t *testing.T) *browser {
	t.Helper()
	hears, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	from, says, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(chromium, "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
		"--hide-scrollbars", "--user-data-dir="+t.TempDir(), "about:blank")
	cmd.ExtraFiles = []*os.File{hears, says} // it knows them as 3 and 4
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v; run integration/setup.sh", err)
	}
	_, _ = hears.Close(), says.Close()
	kill := func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	late := time.AfterFunc(2*time.Minute, kill) // which ends what waits for an answer
	t.Cleanup(func() {
		late.Stop()
		kill()
		_ = cmd.Wait()
		_, _ = to.Close(), from.Close()
	})
	b := &browser{t: t, to: to, from: bufio.NewReader(from)}
	var target struct{ TargetID, SessionID string }
	b.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	b.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &target)
	b.tab = target.SessionID
	for _, domain := range []string{"Page", "Network", "Log"} {
		b.call(domain+".enable", nil, nil)
	}
	return b
}

// call has the browser do something and reads the answer, and the events before it.
func (b *browser) call(method string, params, result any) {
	b.t.Helper()
	b.calls++
	text, err := json.Marshal(message{ID: b.calls, Session: b.tab, Method: method, Params: params})
	if err == nil {
		_, err = b.to.Write(append(text, 0))
	}
	if err != nil {
		b.t.Fatalf("%s: %v", method, err)
	}
	for {
		m := b.read()
		if m.ID != b.calls {
			continue
		}
		if m.Error != nil {
			b.t.Fatalf("%s: %s", method, m.Error)
		}
		if result != nil {
			if err := json.Unmarshal(m.Result, result); err != nil {
				b.t.Fatalf("%s: %v", method, err)
			}
		}
		return
	}
}

func (b *browser) read() message {
	b.t.Helper()
	text, err := b.from.ReadBytes(0)
	if err != nil {
		b.t.Fatalf("the browser has ended: %v", err)
	}
	var event struct {
		Request struct{ URL string }
		Entry   struct{ Text string }
		Status  int `json:"statusCode"`
	}
	m := message{Params: &event}
	if err := json.Unmarshal(text[:len(text)-1], &m); err != nil {
		b.t.Fatalf("the browser says %s: %v", text, err)
	}
	switch m.Method {
	case "Network.requestWillBeSent":
		b.fetched = append(b.fetched, event.Request.URL)
	case "Network.responseReceivedExtraInfo":
		b.status = append(b.status, event.Status)
	case "Log.entryAdded":
		b.said = append(b.said, event.Entry.Text)
	}
	return m
}

// open loads a page and waits until it is there.
func (b *browser) open(url string) {
	b.t.Helper()
	b.call("Page.navigate", map[string]any{"url": url}, nil)
	for b.read().Method != "Page.loadEventFired" {
	}
}

// eval returns what a script finds on the page, as text; a promise is awaited.
func (b *browser) eval(script string) string {
	b.t.Helper()
	var got struct {
		Result           struct{ Value any }
		ExceptionDetails json.RawMessage
	}
	b.call("Runtime.evaluate", map[string]any{"expression": script, "returnByValue": true, "awaitPromise": true}, &got)
	if got.ExceptionDetails != nil {
		b.t.Fatalf("%s: %s", script, got.ExceptionDetails)
	}
	return fmt.Sprint(got.Result.Value)
}

// show sets the width of the window in pixels, and light or dark.
func (b *browser) show(width int, scheme string) {
	b.t.Helper()
	b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": 200, "deviceScaleFactor": 1, "mobile": width < 600}, nil)
	b.call("Emulation.setEmulatedMedia", map[string]any{"features": []any{map[string]any{"name": "prefers-color-scheme", "value": scheme}}}, nil)
}

// picture is the whole page as PNG.
func (b *browser) picture() []byte {
	b.t.Helper()
	var got struct{ Data string }
	b.call("Page.captureScreenshot", map[string]any{"captureBeyondViewport": true}, &got)
	png, err := base64.StdEncoding.DecodeString(got.Data)
	if err != nil {
		b.t.Fatal(err)
	}
	return png
}
