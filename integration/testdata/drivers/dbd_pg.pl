# DBD::Pg: perl dbd_pg.pl HOST PORT.
use strict;
use warnings;
use utf8;
use DBI;
use DBD::Pg qw(:pg_types);
use JSON::PP;

my ($host, $port) = @ARGV;
my $text = 'naïve 日本 😀';
my $c = DBI->connect("DBI:Pg:dbname=postgres;host=$host;port=$port", 'anybody', 'left over', { RaiseError => 1, PrintError => 0 });
my $prepared = $c->prepare('SELECT ?::int + ?::int, ?::text', { pg_prepare_now => 1 });
$prepared->execute(40, 2, $text);
my ($sum, $echo) = $prepared->fetchrow_array;
$prepared->finish;
$c->do('CREATE TEMP TABLE dbd (t text)');
my $insert = $c->prepare('INSERT INTO dbd VALUES (?)');
$c->begin_work;
$insert->execute('rolled back');
$c->rollback;
$c->begin_work;
$insert->execute($text);
$c->commit;
my $rows = $c->selectcol_arrayref('SELECT t FROM dbd');
my ($user) = $c->selectrow_array('SELECT current_user');
eval { $c->do('SELECT * FROM nowhere') };
my $error = $c->state;
$c->disconnect;
print JSON::PP->new->utf8->encode({ sum => $sum + 0, text => $echo, rows => $rows, user => $user, error => $error }), "\n";
