package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/discovery"
	"github.com/credproxy/credproxy/iampolicy"
)

// policyOptions are the flags of policy.
type policyOptions struct {
	file, role, who string
	account, region string
	kmsKeys         []string
	resourceIDs     []string
	lookUp          bool
	trust           iampolicy.Trust
	masters         []string
	rotation        iampolicy.Rotation
}

func policyCommand() *cobra.Command {
	var o policyOptions
	cmd := &cobra.Command{
		Use:   "policy [-c FILE] [SECRET_ARN...]",
		Short: "Print the least IAM policy that a configuration needs",
		Long: `Policy prints the IAM policy, as JSON, that the role credproxy runs as must have
for this configuration: its secrets, their keys, its IAM logins, the roles it
assumes, its queue of rotations. Nothing else is allowed.

A configuration with assume_role needs a policy for each of the roles as well. Policy
then prints one object with the policies by role; "self" is credproxy's own role.
--role prints one of them alone.

A policy needs some things that no configuration says. --lookup asks AWS for them, with
your AWS credentials: the whole ARN of a secret and its key (secretsmanager:DescribeSecret),
the resource id of a database (rds:DescribeDBInstances, DBClusters, DBProxies), and which
databases discover finds now.
Without --lookup use --account, --region, --kms-key and --resource-id. A part that is
still not known stands in the policy as ACCOUNT_ID, REGION or RESOURCE_ID.

--trust prints the trust policy of credproxy's role instead. It needs no
configuration. On EKS it is for Pod Identity, or with --oidc-provider for IRSA.
--trust role prints that of a role that credproxy assumes.

--for rotation prints the policy of the rotation function's role for these secrets
instead. --for rotate prints that of whoever runs credproxy rotate or credproxy rollback.
--master names the secrets of users who set others' passwords, which are only read.
Both are for the account that the secrets are in, and take no configuration.

Notes go to standard error. Exit status: 0 the policy is whole; 1 it was printed
with placeholders, or AWS could not be asked; 2 bad usage or configuration.`,
		Example: `  credproxy policy arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/orders-AbCdEf
  credproxy policy -c credproxy.yaml --lookup
  credproxy policy -c credproxy.yaml --account 123456789012 --resource-id reports=cluster-ABCDEFGH
  credproxy policy --for rotation --lookup arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/orders-AbCdEf
  credproxy policy --trust ecs --account 123456789012 --region eu-west-1
  credproxy policy --trust eks --namespace shop --service-account orders
  credproxy policy --trust role --trusted-role arn:aws:iam::123456789012:role/orders --external-id shop-7d1c`,
		RunE: func(cmd *cobra.Command, arns []string) error { return printPolicy(cmd, o, arns) },
	}
	configFlag(cmd, &o.file)
	flags := cmd.Flags()
	flags.StringVar(&o.role, "role", "", `print the policy of this role alone: an ARN, or "self"`)
	flags.StringVar(&o.who, "for", "run", "whose policy to print: that of run, of the rotation function (rotation) or of credproxy rotate (rotate)")
	_ = cmd.RegisterFlagCompletionFunc("for", cobra.FixedCompletions([]string{"run", "rotation", "rotate"}, cobra.ShellCompDirectiveNoFileComp)) // the flag exists
	flags.StringSliceVar(&o.masters, "master", nil, "with --for rotation or rotate: the ARN of the secret of a user who sets others' passwords")
	flags.BoolVar(&o.rotation.RandomPassword, "get-random-password", false, "with --for rotation or rotate: Secrets Manager makes the passwords (PASSWORD_SOURCE)")
	flags.BoolVar(&o.rotation.DescribeDatabases, "describe-databases", false, "with --for rotation or rotate: a secret's host is a replica of its master's, and RDS is asked for that")
	flags.StringVar(&o.account, "account", "", "AWS account that credproxy runs in")
	flags.StringVar(&o.region, "region", "", "AWS region that credproxy runs in")
	flags.StringSliceVar(&o.kmsKeys, "kms-key", nil, `key of a database's secret, as [NAME=]KEY: an id, an alias, the ARN of either, or "none" for AWS's own`)
	flags.StringSliceVar(&o.resourceIDs, "resource-id", nil, "resource id of a database, as [NAME=]ID: db-..., cluster-... or prx-...")
	flags.BoolVar(&o.lookUp, "lookup", false, "ask AWS for what the configuration leaves open")
	flags.StringVar(&o.trust.Platform, "trust", "", "print the trust policy for ecs, eks, ec2 or lambda, or for another role (role)")
	_ = cmd.RegisterFlagCompletionFunc("trust", cobra.FixedCompletions([]string{"ecs", "eks", "ec2", "lambda", "role"}, cobra.ShellCompDirectiveNoFileComp)) // the flag exists
	flags.StringVar(&o.trust.OIDCProvider, "oidc-provider", "", "with --trust eks: the cluster's OIDC issuer, or the ARN of its provider")
	flags.StringVar(&o.trust.Namespace, "namespace", "", "with --trust eks: the pod's namespace")
	flags.StringVar(&o.trust.ServiceAccount, "service-account", "", "with --trust eks: the pod's service account")
	flags.StringVar(&o.trust.Role, "trusted-role", "", "with --trust role: the ARN of credproxy's own role")
	flags.StringVar(&o.trust.ExternalID, "external-id", "", "with --trust role: the external id that it must give")
	return cmd
}

func printPolicy(cmd *cobra.Command, o policyOptions, arns []string) error {
	if err := o.check(); err != nil {
		return usageError{err}
	}
	if o.trust.Platform != "" {
		o.trust.Account, o.trust.Region = o.account, o.region
		document, err := o.trust.Policy()
		if err != nil {
			return usageError{err}
		}
		_, err = fmt.Fprint(cmd.OutOrStdout(), indented(document))
		return err
	}
	if o.rotates() && (len(arns) == 0 || o.file != "" && origin(cmd.Flags().Lookup("config")) == "--config") {
		return usageError{fmt.Errorf("--for %s takes the ARNs of secrets, not a configuration", o.who)}
	}
	cfg, err := readConfig(cmd, o.file, append(arns, o.masters...))
	if err != nil {
		return err
	}
	var failures []string
	if o.lookUp && len(cfg.Discover) > 0 {
		cfg, failures = discovered(cmd.Context(), cfg)
	}
	facts, err := o.facts(cfg)
	if err != nil {
		return usageError{err}
	}
	if o.lookUp {
		failures = append(failures, iampolicy.LookUp(cmd.Context(), cfg, &facts)...)
	}
	policies, notes, incomplete := o.generate(cfg, len(arns), facts)
	for _, note := range append(notes, failures...) {
		cmd.PrintErrln("credproxy: note: " + note)
	}
	if err := o.write(cmd, policies); err != nil {
		return err
	}
	switch {
	case len(incomplete) > 0:
		return fmt.Errorf("the policy is not whole: replace %s, or run this again with --lookup, --account, --region or --resource-id", strings.Join(incomplete, ", "))
	case len(failures) > 0:
		return errors.New("AWS did not answer all that was asked; see the notes")
	}
	return nil
}

// discovered is cfg with the databases that there are now.
func discovered(ctx context.Context, cfg *config.Config) (complete *config.Config, failures []string) {
	complete, accounts := discovery.Once(ctx, cfg)
	for _, a := range accounts {
		if a.Err != nil {
			failures = append(failures, fmt.Sprintf("the databases of %s are not known: %v", a, a.Err))
		}
	}
	return complete, failures
}

func (o policyOptions) rotates() bool { return o.who != "run" }

// generate makes the policies; the first secrets of a configuration that is rotated are
// no masters'.
func (o policyOptions) generate(cfg *config.Config, secrets int, facts iampolicy.Facts) (policies map[string]iampolicy.Document, notes, incomplete []string) {
	if !o.rotates() {
		return iampolicy.Generate(cfg, facts)
	}
	for _, db := range cfg.Databases[secrets:] {
		o.rotation.Masters = append(o.rotation.Masters, db.Name)
	}
	o.rotation.Starts = o.who == "rotate"
	policy, notes, incomplete := iampolicy.GenerateRotation(cfg, o.rotation, facts)
	return map[string]iampolicy.Document{iampolicy.OwnRole: policy}, notes, incomplete
}

var accountID = regexp.MustCompile(`^[0-9]{12}$`)

func (o policyOptions) check() error {
	if o.account != "" && !accountID.MatchString(o.account) {
		return fmt.Errorf("--account: %q is not an AWS account; write its 12 digits", o.account)
	}
	if o.region != "" && !iampolicy.IsRegion(o.region) {
		return fmt.Errorf("--region: %q is not an AWS region; write one such as eu-west-1", o.region)
	}
	switch o.who {
	case "run":
		if len(o.masters) > 0 || o.rotation.RandomPassword || o.rotation.DescribeDatabases {
			return errors.New("--master, --get-random-password and --describe-databases are for --for rotation and --for rotate")
		}
	case "rotation", "rotate":
		if o.trust.Platform != "" {
			return fmt.Errorf("--for %s prints a role's policy and --trust who may take a role; give one of them", o.who)
		}
	default:
		return fmt.Errorf("--for %s: write run, rotation or rotate", o.who)
	}
	if o.trust.Platform == "" && (o.trust.OIDCProvider != "" || o.trust.Namespace != "" || o.trust.ServiceAccount != "") {
		return errors.New("--oidc-provider, --namespace and --service-account are for --trust eks")
	}
	if o.trust.Platform == "" && (o.trust.Role != "" || o.trust.ExternalID != "") {
		return errors.New("--trusted-role and --external-id are for --trust role")
	}
	return nil
}

// write prints one policy, or all of them by role.
func (o policyOptions) write(cmd *cobra.Command, policies map[string]iampolicy.Document) error {
	var out any = policies
	switch document, ok := policies[o.role]; {
	case ok:
		out = document
	case o.role != "" && o.role != iampolicy.OwnRole:
		roles := slices.Sorted(maps.Keys(policies))
		return usageError{fmt.Errorf("--role: %q has no part in this configuration; write one of: %s", o.role, strings.Join(roles, ", "))}
	case len(policies) == 0 || o.role == iampolicy.OwnRole:
		cmd.PrintErrln("credproxy: note: this configuration needs no permission of AWS")
		return nil
	case len(policies) == 1: // credproxy's own: it must at least be allowed to assume another
		out = policies[iampolicy.OwnRole]
	}
	_, err := fmt.Fprint(cmd.OutOrStdout(), indented(out))
	return err
}

// facts are those that flags give.
func (o policyOptions) facts(cfg *config.Config) (iampolicy.Facts, error) {
	f := iampolicy.Facts{Account: o.account, Region: o.region, Databases: map[string]iampolicy.DatabaseFacts{}}
	for _, db := range cfg.Databases {
		f.Databases[db.Name] = iampolicy.DatabaseFacts{}
	}
	err := each(f, "--kms-key", o.kmsKeys, func(d *iampolicy.DatabaseFacts, key string) error {
		d.KMSKey = key
		return nil
	})
	if err != nil {
		return f, err
	}
	return f, each(f, "--resource-id", o.resourceIDs, func(d *iampolicy.DatabaseFacts, id string) error {
		if !iampolicy.IsResourceID(id) {
			return fmt.Errorf("%q is not a resource id; write one such as db-ABCDEFGH, cluster-ABCDEFGH or prx-0123abcd", id)
		}
		d.ResourceID = id
		return nil
	})
}

// each calls set with what each of values, [NAME=]VALUE, says about a database of f. One
// without a name is about all that no other names.
func each(f iampolicy.Facts, flag string, values []string, set func(*iampolicy.DatabaseFacts, string) error) error {
	slices.SortStableFunc(values, func(a, b string) int { return strings.Count(a, "=") - strings.Count(b, "=") })
	for _, v := range values {
		name, value, named := strings.Cut(v, "=")
		if !named {
			name, value = "", v
		}
		if _, known := f.Databases[name]; named && !known {
			return fmt.Errorf("%s: no database %q in this configuration; write one of: %s", flag, name, strings.Join(slices.Sorted(maps.Keys(f.Databases)), ", "))
		}
		for database, facts := range f.Databases {
			if named && database != name {
				continue
			}
			if err := set(&facts, value); err != nil {
				return fmt.Errorf("%s: %w", flag, err)
			}
			f.Databases[database] = facts
		}
	}
	return nil
}
