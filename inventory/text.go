package inventory

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"unicode"

	"github.com/credproxy/credproxy/config"
)

// ErrNothing is returned by [Plan.Text] for an account of which nothing can be served.
var ErrNothing = errors.New("no database can be served")

// Text is the configuration as YAML, with comments, or [ErrNothing].
func (p *Plan) Text() (string, error) {
	if len(p.Served) == 0 {
		return "", ErrNothing
	}
	var b strings.Builder
	p.head(&b)
	b.WriteString("databases:\n")
	for _, s := range p.Served {
		p.served(&b, s)
	}
	if len(p.Left) > 0 {
		b.WriteString("\n# Not served:\n")
		for _, l := range p.Left {
			comment(&b, "", "  "+l.String())
		}
	}
	text := b.String()
	_, err := config.Parse("the configuration", []byte(text))
	if all, ok := errors.AsType[config.Errors](err); ok && len(all) > 0 {
		err = all[0] // that of the first database is that of all
	}
	if err != nil {
		return "", fmt.Errorf("what would be written does not load: %w", err)
	}
	return text, nil
}

// Remarks are lines for who asked: what AWS did not tell, and how many databases there are.
func (p *Plan) Remarks() (lines []string) {
	for _, f := range p.Hidden {
		lines = append(lines, "something may be missing: "+f.String())
	}
	if p.Other > 0 {
		lines = append(lines, plural(p.Other, "database")+" without the tags")
	}
	if len(p.Served) == 0 { // and so no text that says it
		for _, l := range p.Left {
			lines = append(lines, l.String())
		}
	}
	return append(lines, fmt.Sprintf("%s served, %d not", plural(len(p.Served), "database"), len(p.Left)))
}

func (l LeftOut) String() string { return fmt.Sprintf("%s (%s): %s", l.Name, l.About, l.Reason) }

// WriteFile writes the configuration to a new file, or over one that is there if replace
// says so; else the error is an fs.ErrExist.
func WriteFile(path, text string, replace bool) error {
	flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if replace {
		flags = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	f, err := os.OpenFile(path, flags, 0o644) // it holds no secret
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

func (p *Plan) head(b *strings.Builder) {
	comment(b, "", "Written by credproxy init. Databases of RDS in "+p.Region+tagged(p.Choice.Tags)+": "+fmt.Sprintf("%d served, %d not; the latter stand at the end.", len(p.Served), len(p.Left)))
	comment(b, "", "deploy/credproxy.yaml has all other settings and what they mean.")
	for _, f := range p.Hidden {
		comment(b, "", "Something may be missing: "+f.String())
	}
}

func (p *Plan) served(b *strings.Builder, s Served) {
	b.WriteString("\n")
	comment(b, "  ", s.About)
	for _, note := range s.Notes {
		comment(b, "  ", note)
	}
	line := func(format string, args ...any) { fmt.Fprintf(b, "    "+format+"\n", args...) }
	fmt.Fprintf(b, "  - name: %s\n", plain(s.Name))
	line("engine: %s", s.Engine)
	line("listen: %s", s.Listen[0])
	line("host: %s", quoted(s.Host))
	line("port: %d", s.Port)
	if s.Role != config.AnyRole {
		line("role: %s", s.Role)
	}
	if s.Database.Database != "" {
		line("database: %s", quoted(s.Database.Database))
	}
	if s.TLS.CAFile != "" {
		line("tls: {ca_file: %s}", quoted(s.TLS.CAFile))
	}
	line("credentials:")
	if c := s.Credentials.SecretsManager; c != nil {
		line("  secrets_manager:")
		line("    secret_id: %s", quoted(c.SecretID))
	}
	if c := s.Credentials.IAM; c != nil {
		line("  iam:")
		line("    user: %s", quoted(c.User))
		line("    region: %s", c.Region)
	}
	if role := p.Choice.AssumeRole; role.RoleARN != "" {
		line("    assume_role:")
		line("      role_arn: %s", quoted(role.RoleARN))
		if role.ExternalID != "" {
			line("      external_id: %s", quoted(role.ExternalID))
		}
	}
}

// comment writes one line, whatever AWS has put into it.
func comment(b *strings.Builder, indent, text string) {
	fmt.Fprintf(b, "%s# %s\n", indent, strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text))
}

// plain writes an identifier of RDS as it is, if YAML takes it for a string.
func plain(s string) string {
	switch strings.ToLower(s) {
	case "null", "true", "false", "yes", "no", "on", "off", "y", "n":
		return quoted(s)
	}
	return s
}

// quoted writes a string so that YAML takes it for one: as JSON.
func quoted(s string) string {
	text, _ := json.Marshal(s) // strings always encode
	return string(text)
}

func tagged(tags map[string]string) string {
	var all []string
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		all = append(all, strings.TrimSuffix(key+"="+tags[key], "="))
	}
	if len(all) == 0 {
		return ""
	}
	return " with " + strings.Join(all, ", ")
}
