package servers

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// writeFolder fills pg.SocketDir: the data folder, the certificates, and the two
// configuration files. It sets pg.CA, pg.CAFile and pg.Certificate.
func (pg *Postgres) writeFolder(ctx context.Context, as *syscall.Credential, o PostgresOptions) error {
	data := filepath.Join(pg.SocketDir, "data")
	if err := pg.writeData(ctx, as, o, data); err != nil {
		return err
	}
	settings, err := pg.writeCertificates(as, o)
	if err != nil {
		return fmt.Errorf("write certificates: %w", err)
	}
	conf := pg.conf(o, settings)
	if o.Starting || o.StandbyOf != nil {
		if err := os.WriteFile(filepath.Join(data, "standby.signal"), nil, 0o644); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(data, "postgresql.conf"), []byte(conf), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(data, "pg_hba.conf"), []byte(hba(o)), 0o644)
}

// writeData makes the data folder: of a fresh cluster, or of what the primary has.
func (pg *Postgres) writeData(ctx context.Context, as *syscall.Credential, o PostgresOptions, data string) error {
	if o.StandbyOf == nil {
		template, err := installed("postgresql-" + strconv.Itoa(o.Version) + "-template")
		if err != nil {
			return err
		}
		return copyTemplate(ctx, as, template, data)
	}
	program, err := pg.Program("pg_basebackup")
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, program, "--host", o.StandbyOf.SocketDir, "--port", strconv.Itoa(o.StandbyOf.Port),
		"--username", "postgres", "--pgdata", data, "--checkpoint", "fast")
	cmd.Dir = pg.SocketDir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("copy the primary: %w\n%s", err, out)
	}
	return nil
}

// writeCertificates returns the ssl settings that go with what it wrote.
func (pg *Postgres) writeCertificates(as *syscall.Credential, o PostgresOptions) (map[string]string, error) {
	if o.NoTLS {
		return map[string]string{"ssl": "off"}, nil
	}
	c, err := writeCertificates(pg.SocketDir, pg.Host, as, o.Certificate, o.CA, o.ClientCA)
	if err != nil {
		return nil, err
	}
	pg.CA, pg.CAFile, pg.Certificate = c.ca, c.caFile, c.cert
	settings := map[string]string{"ssl": "on", "ssl_cert_file": c.certFile, "ssl_key_file": c.keyFile}
	if c.clientCAFile != "" {
		settings["ssl_ca_file"] = c.clientCAFile
	}
	return settings, nil
}

// conf is postgresql.conf. The server need not survive a power cut, and it can
// be the source of replication.
func (pg *Postgres) conf(o PostgresOptions, more map[string]string) string {
	settings := map[string]string{
		"listen_addresses":           pg.Host,
		"port":                       strconv.Itoa(pg.Port),
		"unix_socket_directories":    pg.SocketDir,
		"fsync":                      "off",
		"synchronous_commit":         "off",
		"full_page_writes":           "off",
		"shared_buffers":             "16MB",
		"dynamic_shared_memory_type": "mmap", // leaves nothing in /dev/shm if killed
		"wal_level":                  "logical",
		"log_connections":            "on",
		"log_disconnections":         "on",
		"password_encryption":        "scram-sha-256",
	}
	if o.Starting {
		settings["hot_standby"] = "off"
	}
	if o.StandbyOf != nil {
		settings["primary_conninfo"] = fmt.Sprintf("host=%s port=%d user=postgres", o.StandbyOf.SocketDir, o.StandbyOf.Port)
	}
	if o.LogStatements {
		settings["log_statement"] = "all"
	}
	if o.Auth == "md5" {
		settings["password_encryption"] = "md5" // else the server falls back to SCRAM
	}
	maps.Copy(settings, more)
	maps.Copy(settings, o.Settings)
	var b strings.Builder
	for name, value := range settings {
		fmt.Fprintf(&b, "%s = '%s'\n", name, strings.ReplaceAll(value, "'", "''"))
	}
	return b.String()
}

// hba is pg_hba.conf. Like RDS, it has PAM ask for the token of IAM users in the
// clear, within TLS, and everybody else for a password.
func hba(o PostgresOptions) string {
	lines := append([]string{}, o.HBA...)
	lines = append(lines, "local all,replication postgres trust")
	kind, method := "hostssl", o.Auth
	if o.NoTLS {
		kind = "host"
	}
	if method == "" {
		method = "scram-sha-256"
	}
	clientCert := ""
	if o.ClientCA != nil {
		clientCert = " clientcert=verify-ca"
	}
	if o.IAM != nil {
		service := pamService("postgresql-" + strconv.Itoa(o.Version))
		lines = append(lines, kind+" all,replication +rds_iam all pam pamservice="+service+clientCert)
	}
	lines = append(lines, kind+" all,replication all all "+method+clientCert)
	return strings.Join(lines, "\n") + "\n"
}
