<?php
// PHP with mysqli: php mysqli.php HOST PORT. A connection to p:HOST is persistent:
// closed, it is kept, and taken up by the next script, or here the next connect,
// with COM_CHANGE_USER.
mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
[, $host, $port] = $argv;
$open = function () use ($host, $port) {
    $c = new mysqli("p:$host", 'anybody', '', 'app', (int)$port);
    $c->set_charset('utf8mb4');
    return $c;
};
$value = fn ($c, $sql) => $c->query($sql)->fetch_row()[0];

$c = $open();
$prepared = $c->prepare('SELECT ? + ?, ?');
$prepared->bind_param('iis', ...[40, 2, 'naïve 日本 😀']);
$prepared->execute();
[$sum, $text] = $prepared->get_result()->fetch_row();
$prepared->close();
$c->query('CREATE TABLE mysqli (t VARCHAR(50) CHARACTER SET utf8mb4)');
$insert = $c->prepare('INSERT INTO mysqli VALUES (?)');
$row = 'rolled back';
$insert->bind_param('s', $row);
$c->begin_transaction();
$insert->execute();
$c->rollback();
$c->begin_transaction();
$row = 'naïve 日本 😀';
$insert->execute();
$c->commit();
$insert->close();
$rows = array_column($c->query('SELECT t FROM mysqli')->fetch_all(), 0);
try {
    $c->query('SELECT * FROM nowhere');
} catch (mysqli_sql_exception $e) {
    $error = $e->getCode() . ' ' . $e->getSqlState();
}

$changed = true;
$pooled = getenv('CREDPROXY_TEST_POOL'); // then it may be told another connection's id
for ($i = 0; $i < 10; $i++) {
    $id = $value($c, 'SELECT CONNECTION_ID()');
    $c->query('SET @left = 1');
    $c->close();
    $c = $open();
    $changed = $changed && $value($c, 'SELECT @left') === null && $value($c, 'SELECT CONNECTION_ID()') === $id && ($pooled || $c->thread_id == $id);
}
$c->query('SET @left = 1');
$c->change_user('somebody', '', 'app');
$changed = $changed && $value($c, 'SELECT @left') === null;
echo json_encode(['sum' => (int)$sum, 'text' => $text, 'rows' => $rows, 'user' => $value($c, 'SELECT CURRENT_USER()'), 'changed' => $changed, 'error' => $error]), "\n";
