//! Many at once.

use tokio::task::JoinSet;

/// How many are under way.
const AT_ONCE: usize = 2_048;

/// Works through all of them.
pub(crate) async fn for_each<T, Work>(items: impl IntoIterator<Item = T>, work: impl Fn(T) -> Work)
where
    Work: Future<Output = ()> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for item in items {
        if tasks.len() == AT_ONCE {
            tasks.join_next().await.expect("there are some").expect("it does not panic");
        }
        tasks.spawn(work(item));
    }
    tasks.join_all().await;
}
