package integration_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// screenshots names a folder to write pictures to: "../docs/images" renews those of
// docs/status.md.
const screenshots = "CREDPROXY_SCREENSHOTS"

// TestStatusPage reads the status page of a running credproxy in a browser, while all
// is well and after one database has got another password than its secret says and
// another is on its emergency credential.
func TestStatusPage(t *testing.T) {
	t.Parallel()
	pg := newPostgres(t, servers.PostgresOptions{Version: 15})
	for _, role := range []string{"biller", "reporter", "emergency"} {
		if err := pg.CreateRole(t.Context(), role, appPassword); err != nil {
			t.Fatal(err)
		}
	}
	aws := startAWS(t, awsstub.Options{})
	aws.CreateSecret("prod/orders", secretJSON(pg, "app", appPassword))
	aws.CreateSecret("prod/billing", secretJSON(pg, "biller", appPassword))
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{"reports.json": secretJSON(pg, "reporter", appPassword), "emergency.json": secretJSON(pg, "emergency", appPassword)})
	tls := "tls: " + tlsYAML("", pg.CAFile)
	w := watch(t, sidecar.Options{Env: aws.Env(), Config: "databases:\n" +
		smDatabase("orders", "prod/orders", tls) + smDatabase("billing", "prod/billing", tls, "rotation: {grace: 0s}") +
		database("reports", fmt.Sprintf("file: {path: %q}", filepath.Join(dir, "reports.json")), tls, "engine: postgres", "pool: {mode: session}",
			fmt.Sprintf("break_glass: {file: %q}", filepath.Join(dir, "emergency.json")))}, appPassword, secondPassword, thirdPassword)
	for _, name := range []string{"orders", "billing", "reports", "orders"} {
		w.recovers(t, name, "postgres")
	}
	admin, err := w.Admin()
	if err != nil {
		t.Fatal(err)
	}
	b := newBrowser(t)
	b.show(1280, "light")
	b.open("http://" + admin + "/")
	if title := b.eval("document.title"); title != "ready · credproxy" {
		t.Errorf("title %q", title)
	}
	if text := b.eval("document.querySelector('#db-orders').innerText"); !strings.Contains(text, "accepted") || !strings.Contains(text, "AWSCURRENT") {
		t.Errorf("of orders it says\n%s", text)
	}
	b.styled(t, "light", "rgb(244, 245, 247)")
	if filled := b.eval("getComputedStyle(document.querySelector('#db-orders .chart .area')).fill"); filled != "rgb(220, 243, 229)" {
		t.Errorf("a chart is filled with %s", filled)
	}
	b.keep(t, "status-light")
	b.show(1280, "dark")
	b.styled(t, "dark", "rgb(16, 20, 26)")
	b.keep(t, "status-dark")

	rotateOrders(t, pg, aws, w)
	breakBilling(t, pg, aws, w)
	if code, answer, err := w.Post("/break-glass", `{"reason":"INC-4711: rotation is broken","database":"reports"}`); code != http.StatusOK || err != nil {
		t.Fatalf("%d %s, %v", code, answer, err)
	}
	sidecar.Await(t, "the page to show it by itself", func() bool { return b.eval("document.title") == "TROUBLE · credproxy" })
	text := b.eval("document.body.innerText")
	if rotation := regexp.MustCompile(`ago, to [0-9a-f]{8}; 1 login waited, the longest [0-9]`); !rotation.MatchString(text) {
		t.Errorf("the page does not say %s", rotation)
	}
	marked := fmt.Sprint(b.eval("document.querySelectorAll('#db-orders .mark').length + ' of ' + document.querySelectorAll('#db-orders .chart').length"))
	if marked != "4 of 4" {
		t.Errorf("%s charts have a mark where the credential rotated", marked)
	}
	for _, want := range []string{"idle in the pool", "Break-glass is in use", "INC-4711: rotation is broken", "the database refused the credential", "credential_rejected"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	b.show(1280, "light")
	b.keep(t, "status-broken")
	b.show(390, "light")
	if width := b.eval("document.documentElement.scrollWidth"); width != "390" {
		t.Errorf("on a phone of 390 pixels the page is %s wide", width)
	}
	b.keep(t, "status-phone")

	for _, url := range b.fetched {
		if url != "http://"+admin+"/" && url != "about:blank" {
			t.Errorf("the page asks for %s", url)
		}
	}
	if len(b.said) > 0 {
		t.Errorf("the browser complains: %q", b.said)
	}
	b.attack(t, w, admin)
	if t.Failed() {
		t.Logf("the page:\n%s", text)
	}
}

// rotateOrders changes the password, and logs in with the new one.
func rotateOrders(t *testing.T, pg *servers.Postgres, aws *awsstub.Server, w *watched) {
	t.Helper()
	if err := pg.SetPassword(t.Context(), "app", secondPassword); err != nil {
		t.Fatal(err)
	}
	aws.PutSecret("prod/orders", secretJSON(pg, "app", secondPassword))
	w.recovers(t, "orders", "postgres")
}

// breakBilling has the database refuse billing's credential.
func breakBilling(t *testing.T, pg *servers.Postgres, aws *awsstub.Server, w *watched) {
	t.Helper()
	aws.PutSecret("prod/billing", secretJSON(pg, "biller", thirdPassword))
	if err := pg.SetPassword(t.Context(), "biller", secondPassword); err != nil {
		t.Fatal(err)
	}
	sidecar.Await(t, "billing to be refused", func() bool { return w.logIn(t.Context(), w.Addr(t, "billing"), "postgres") != nil })
}

// styled holds that the page's policy let its style in, in its light or dark form.
func (b *browser) styled(t *testing.T, scheme, background string) {
	t.Helper()
	if got := b.eval("getComputedStyle(document.body).backgroundColor"); got != background {
		t.Errorf("in %s the page has background %s, want %s", scheme, got, background)
	}
}

// keep writes a picture for the documents, if asked to.
func (b *browser) keep(t *testing.T, name string) {
	t.Helper()
	if dir := os.Getenv(screenshots); dir != "" {
		if err := os.WriteFile(filepath.Join(dir, name+".png"), b.picture(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// attack tries from a web page of another origin what only a program may do, in each
// way that a page can send it without asking first.
func (b *browser) attack(t *testing.T, w *watched, admin string) {
	t.Helper()
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprint(w, "<title>evil</title>")
	}))
	defer page.Close()
	b.open(page.URL)
	b.status = nil
	for _, path := range []string{"/quitquitquit", "/break-glass"} {
		b.eval(fmt.Sprintf(`fetch("http://%s%s", {method: "POST", mode: "no-cors", body: '{"end":true}'}).catch(e => "" + e)`, admin, path))
	}
	if !slices.Equal(b.status, []int{http.StatusForbidden, http.StatusForbidden}) {
		t.Errorf("POST from a web page was answered %d", b.status)
	}
	if read := b.eval(fmt.Sprintf(`fetch("http://%s/status").then(r => r.text(), e => "not read")`, admin)); read != "not read" {
		t.Errorf("a web page reads the status: %s", read)
	}
	if code, status, err := w.Get("/status"); err != nil || code != http.StatusOK || !strings.Contains(status, `"draining": false`) || !strings.Contains(status, "INC-4711") {
		t.Errorf("a web page has done it: %d %v\n%s", code, err, status)
	}
}
